"""The pixels of a collection: random crops for training, whole images for evaluation.

Images live decoded in memory while they fit a budget, small ones beyond it in a memory-mapped file, and large ones are
decoded by loader processes for every step.
"""

import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from core.ground import imaging
from trainer.data.augment import Augmentation, crop_and_resize
from trainer.data.sources import ImageList, ImageRef, cpus
from trainer.progress import Progress
from trainer.ranks import Ranks

MEMORY_BUDGET = 4 << 30  # bytes of decoded pixels kept in memory
SMALL_CROP = 64  # pixels
SMALL_SIDE = 96  # images stored at up to this side are worth a memory map: a page holds a good part of one
_ROWS_A_TASK = 64
_SAMPLE = 1024  # images whose moments stand for the collection's where not all are decoded beforehand

Plan = Iterable[tuple[Tensor, Augmentation]]  # rows (b,) of each step and what to do with them


class PixelStore(Protocol):
    """Gives the augmented images of one step after another."""

    @property
    def sizes(self) -> Tensor:
        """float32 (N, 2), true width and height."""

    @property
    def choice(self) -> str:
        """How the images are kept, and why, in words."""

    @property
    def waited(self) -> float:
        """Seconds spent waiting for loader processes so far."""

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        """Images for each step of a plan, augmented as it says: float32 (b, 3, side, side) in 0..1 on ``device``."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel in 0..1, (3,) each."""


def open_store(
    listed: ImageList,
    side: int,
    scratch: Path,
    ranks: Ranks,
    device: torch.device,
    budget: int = MEMORY_BUDGET,
    progress: Progress | None = None,
) -> PixelStore:
    """Choose how to keep the images, by the bytes they take decoded.

    Args:
        listed: the collection.
        side: S, pixels of a training crop.
        scratch: folder for a memory-mapped file, which is unlinked as soon as it is open.
        ranks: the processes that train together; those of one machine share one map.
        device: where crops are made; on a CPU large ones cost less from Pillow than from matrix products.
        budget: bytes of decoded pixels to keep in memory.
        progress: told of the images that are decoded beforehand.
    """
    # Up to 1.5 times the crop where the files hold that much detail.
    stored = max(side, min(listed.median_side, side * 3 // 2))
    size = len(listed.images) * 3 * stored**2
    measured = f"{len(listed.images):,} images of {stored} x {stored} are {_mib(size)} decoded"
    loaders = max(1, min(16, cpus()) // ranks.size)
    if side > SMALL_CROP and device.type == "cpu":
        why = f"crops of {side} on a CPU: decoded by {loaders} loader processes"
        return StreamedImages(listed.images, _sizes(listed), loaders, f"{measured}, {why}")
    if size <= budget and ranks.size == 1:
        pixels = np.empty((len(listed.images), 3, stored, stored), np.uint8)
        _fill(pixels, listed, progress)
        return DecodedImages(torch.from_numpy(pixels), _sizes(listed), f"{measured}: in memory (budget {_mib(budget)})")
    room = shutil.disk_usage(scratch).free // 2
    if size <= budget or (stored <= SMALL_SIDE and size <= room):
        pixels = _shared_map(listed, stored, scratch, ranks, progress)
        why = "shared by the ranks" if size <= budget else f"over the budget of {_mib(budget)}"
        return DecodedImages(torch.from_numpy(pixels), _sizes(listed), f"{measured}, {why}: in a memory-mapped file")
    why = f"{measured}, over the budget of {_mib(budget)}: decoded by {loaders} loader processes"
    return StreamedImages(listed.images, _sizes(listed), loaders, why)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _sizes(listed: ImageList) -> Tensor:
    return torch.tensor([(image.width, image.height) for image in listed.images], dtype=torch.float32)


def _fill(pixels: NDArray[np.uint8], listed: ImageList, progress: Progress | None) -> None:
    side = pixels.shape[-1]

    def decode(row: int) -> None:
        pixels[row] = imaging.squashed_array(listed.images[row].decode(), side).transpose(2, 0, 1)

    _in_threads(decode, len(listed.images), progress)


def _shared_map(listed: ImageList, side: int, scratch: Path, ranks: Ranks, progress: Progress | None) -> NDArray[np.uint8]:
    """One memory-mapped file for all ranks of this machine; its first rank decodes into it."""
    path = scratch / f"pixels-{os.environ.get('GROUP_RANK', '0')}.u8"
    shape = (len(listed.images), 3, side, side)
    first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if first_here:
        with open(path, "wb") as file:  # all of it now: a full disk is an error here, and SIGBUS in a mapping
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            file.truncate(math.prod(shape))
        _fill(np.memmap(path, np.uint8, "r+", shape=shape), listed, progress)
    ranks.wait()
    pixels = np.memmap(path, np.uint8, "r+", shape=shape)
    ranks.wait()
    if first_here:
        path.unlink()  # the mappings stay, and go with the processes
    return pixels


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images, uint8 (N, 3, P, P), each squashed to a square; crops undo the distortion."""

    pixels: Tensor
    sizes: Tensor
    choice: str = "in memory"
    waited: float = 0.0

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        for rows, augmentation in plan:
            pixels = self.pixels[rows].to(device, non_blocking=True)
            crops = crop_and_resize(pixels, augmentation.boxes.to(device), augmentation.flips.to(device), side)
            yield augmentation.colour(crops)

    def moments(self) -> tuple[Tensor, Tensor]:
        """From exact integer sums, so that the order of the images cannot matter."""
        total, squares, count = np.zeros(3, np.int64), np.zeros(3, np.int64), 0
        values = np.arange(256, dtype=np.int64)
        for block in torch.split(self.pixels, 4096):
            for channel in range(3):
                histogram = torch.bincount(block[:, channel].flatten(), minlength=256).numpy()
                total[channel] += int(histogram @ values)
                squares[channel] += int(histogram @ values**2)
            count += block[:, 0].numel()
        mean = total / count / 255
        deviation = np.sqrt(np.maximum(squares / count / 255**2 - mean**2, 1e-4))
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


@dataclass
class StreamedImages:
    """Images decoded for every step, cropped at full resolution by Pillow in loader processes that run ahead."""

    images: Sequence[ImageRef]
    sizes: Tensor
    loaders: int
    choice: str
    waited: float = field(default=0.0, init=False)
    _loader: Any = field(default=None, init=False)
    _sampler: "_PlanSampler" = field(default_factory=lambda: _PlanSampler(), init=False)

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        ahead: deque[Augmentation] = deque()  # of the steps that the loaders are at

        def boxes() -> Iterator[tuple[list[int], NDArray[np.float32]]]:
            for rows, augmentation in plan:
                ahead.append(augmentation)
                yield rows.tolist(), augmentation.boxes.numpy()

        self._sampler.plan = boxes()
        if self._loader is None:
            self._loader = DataLoader(
                _Crops(self.images, side),
                batch_size=None,
                sampler=self._sampler,
                num_workers=self.loaders,
                multiprocessing_context="spawn",  # a fork of a process that has used torch's threads may hang
                persistent_workers=True,
                collate_fn=_as_is,
                worker_init_fn=_in_loader,
            )
        for array in self._timed(iter(self._loader)):
            images = torch.from_numpy(array).to(device, non_blocking=True).permute(0, 3, 1, 2).float().mul_(1 / 255)
            augmentation = ahead.popleft()
            mirrored = augmentation.flips.to(device).view(-1, 1, 1, 1)
            yield augmentation.colour(torch.where(mirrored, images.flip(-1), images))

    def _timed(self, arrays: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        while True:
            started = time.monotonic()
            array = next(arrays, None)
            self.waited += time.monotonic() - started
            if array is None:
                return
            yield array

    def moments(self) -> tuple[Tensor, Tensor]:
        """Of evenly spaced images, at a side of 64."""
        step = max(1, len(self.images) // _SAMPLE)
        chosen = ImageList(self.images[::step])
        pixels = np.empty((len(chosen.images), 3, 64, 64), np.uint8)
        _fill(pixels, chosen, None)
        return DecodedImages(torch.from_numpy(pixels), self.sizes).moments()


class _PlanSampler:
    """What the loader processes are to make next; a new plan for each epoch, the same processes."""

    plan: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self.plan


class _Crops(Dataset[NDArray[np.uint8]]):
    def __init__(self, images: Sequence[ImageRef], side: int) -> None:
        self.images, self.side = images, side

    def __getitem__(self, step: Any) -> NDArray[np.uint8]:
        """Rows and boxes (b, 4) of one step to uint8 (b, S, S, 3)."""
        rows, boxes = step
        crops = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for number, (row, (left, top, width, height)) in enumerate(zip(rows, boxes, strict=True)):
            image = self.images[row].decode()
            box = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
            inside = (*box[:2], min(box[2], image.width), min(box[3], image.height))
            crops[number] = image.resize((self.side, self.side), Image.Resampling.BILINEAR, tuple(map(float, inside)))
        return crops


def _as_is(array: Any) -> Any:
    return array


def _in_loader(number: int) -> None:
    """Leave the process group: a signal to it is for the training process, which ends at a step's end and its loaders with
    it. Should it be killed, they notice within seconds."""
    os.setpgid(0, 0)


def evaluation_batches(listed: ImageList, side: int) -> Iterator[Tensor]:
    """The images as an encoder sees them, in order: uint8 (B, side, side, 3), up to 512, fewer of large ones."""
    batch = max(8, min(512, 512 * 48**2 // side**2))
    for start in range(0, len(listed.images), batch):
        images = listed.images[start : start + batch]
        array = np.empty((len(images), side, side, 3), np.uint8)

        def fill(row: int, images: Sequence[ImageRef] = images, array: NDArray[np.uint8] = array) -> None:
            array[row] = imaging.evaluation_array(images[row].decode(), side)

        _in_threads(fill, len(images))
        yield torch.from_numpy(array)


def _in_threads(work: Callable[[int], None], count: int, progress: Progress | None = None) -> None:
    """Pillow decodes without the interpreter's lock."""

    def some(start: int) -> None:
        for row in range(start, min(start + _ROWS_A_TASK, count)):
            work(row)

    with ThreadPoolExecutor(min(8, cpus())) as pool:
        for number, _ in enumerate(pool.map(some, range(0, count, _ROWS_A_TASK)), 1):
            if progress:
                progress.at("decoding", number * _ROWS_A_TASK / count)
