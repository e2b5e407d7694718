"""The processes that train together, one for each device: which rows each holds, and the few collectives training needs.

A process on its own is rank 0 of 1, and every operation below is then the identity.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that ``torchrun`` started; rows of anything are shared out in contiguous parts."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """The initialised process group, or a process on its own."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def bounds(self, count: int, rank: int | None = None) -> tuple[int, int]:
        """First row and the one after the last of a rank's part of ``count`` rows; parts differ by at most one row."""
        rank = self.rank if rank is None else rank
        share, left_over = divmod(count, self.size)
        start = rank * share + min(rank, left_over)
        return start, start + share + (rank < left_over)

    def part(self, rows: Tensor) -> Tensor:
        """This rank's part of (count, ...) rows."""
        start, end = self.bounds(len(rows))
        return rows[start:end]

    def gather(self, part: Tensor, count: int) -> Tensor:
        """All ``count`` rows from every rank's part, on every rank, without gradient."""
        part = part.detach()
        if self.size == 1:
            return part
        largest = -(-count // self.size)
        padded = part.new_zeros(largest, *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        lengths = [end - start for start, end in (self.bounds(count, rank) for rank in range(self.size))]
        return torch.cat([rows[:length] for rows, length in zip(parts, lengths, strict=True)])

    def attached(self, part: Tensor, count: int) -> Tensor:
        """As ``gather``, but this rank's own rows keep their gradient: that of a loss which every rank takes of all rows is
        whole by them, and those by the weights only have to be added up."""
        if self.size == 1:
            return part
        start, end = self.bounds(count)
        whole = self.gather(part, count)
        return torch.cat([whole[:start], part, whole[end:]])

    def part_of(self, part: Tensor, source: int, count: int) -> Tensor:
        """The part that rank ``source`` holds, on every rank."""
        if self.size == 1:
            return part
        start, end = self.bounds(count, source)
        rows = part.contiguous() if source == self.rank else part.new_empty(end - start, *part.shape[1:])
        dist.broadcast(rows, source)
        return rows

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def max(self, values: Tensor) -> Tensor:
        """Elementwise maximum over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def agree(self, device: torch.device, *flags: bool) -> list[bool]:
        """Whether any rank says so, for each flag: all must stop and save at the same step."""
        if self.size == 1:
            return list(flags)
        return [bool(flag) for flag in self.max(torch.tensor(flags, dtype=torch.int32, device=device)).tolist()]

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the ranks."""
        return module if self.size == 1 else nn.parallel.DistributedDataParallel(module)

    def share_buffers(self, module: nn.Module) -> None:
        """Take the first rank's buffers, which are those that it saves."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def once(self, make: Callable[[], T]) -> T:
        """What ``make`` returns or raises on the first rank, on every rank; it must be picklable."""
        if self.size == 1:
            return make()
        outcome: list[object] = [None, None]
        if self.leads:
            try:
                outcome = [make(), None]
            except Exception as error:
                outcome = [None, error]
        dist.broadcast_object_list(outcome)
        if isinstance(outcome[1], Exception):
            raise outcome[1]
        return outcome[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()


def join(device: str) -> tuple[Ranks, str]:
    """Join the processes that ``torchrun`` started, if it started this one.

    Args:
        device: as in the configuration; ``auto`` and ``cuda`` become this process's own GPU.

    Returns:
        The ranks and the device for this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(), device
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    return Ranks.current(), device


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
