"""What every way to learn gives the training loop."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.backbones.encoder import Encoder
from trainer.config import TrainConfig
from trainer.neighbourhoods import MemoryBank
from trainer.randomness import generator

Features = Callable[[], Tensor]


@dataclass(frozen=True)
class Batch:
    """One step's images, and where in training it is.

    Attributes:
        rows: int64 (B,), the images' rows in the collection, the whole batch's on every rank.
        neighbours: int64 (B, k), rows of the anchors' neighbours, -1 throughout for an image that is no anchor; ``None`` in a
            round without anchors.
        part: how much of the round is over, 0 to 1.
    """

    rows: Tensor
    neighbours: Tensor | None
    round: int
    epoch: int
    step: int
    part: float


class Method(nn.Module):
    """A way to learn an encoder. What must outlast a checkpoint is a parameter, a buffer or in an optimiser, and all that is
    random comes from ``rng``, so that a resumed run equals an uninterrupted one.

    Attributes:
        fills_bank: whether the memory bank holds every image's last embedding; if not, all are encoded at the end of each round.
        works_on_ranks: whether several processes may train together.
    """

    fills_bank: ClassVar[bool] = False
    works_on_ranks: ClassVar[bool] = True

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        """
        Args:
            config: resolved parameters.
            encoder: that is to learn.
            bank: the memory bank.
            labels: int64 (N,), -1 where an image has none; only for the method that reads them.
        """
        super().__init__()
        self.config, self.encoder, self.bank = config, encoder, bank
        self.optimisers: list[torch.optim.Optimizer] = []

    def make_optimisers(self, of_encoder: list[dict[str, Any]]) -> list[torch.optim.Optimizer]:
        """The optimisers; the learning rate of each of their groups is the schedule's times the group's ``share``.

        Args:
            of_encoder: groups of the encoder's parameters that are to learn.
        """
        own = [{"params": list(self.own_parameters()), "share": 1.0}]
        groups = [group for group in of_encoder + own if group["params"]]
        return [torch.optim.SGD(groups, 0.0, momentum=0.9, nesterov=True, weight_decay=self.config.weight_decay, fused=True)]

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """Those beside the encoder's."""
        return (value for name, value in self.named_parameters() if not name.startswith("encoder."))

    def begin_epoch(self, round_: int, epoch: int, features: Features) -> None:
        """Called before an epoch's first step, and again where a run is resumed there, with the same outcome.

        Args:
            features: gives the last block's features of all images as they are now, averaged over the image, (N, C).
        """

    def forward(self, images: Tensor) -> Any:
        """What the loss needs of this rank's augmented images, float32 (b, 3, S, S) in 0..1."""
        return self.encoder(images)

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The scalar to minimise, the mean over the whole batch; the same on every rank, with a gradient by this rank's
        ``outputs``, which are ``forward``'s in float32."""

    def after_step(self, outputs: Any, batch: Batch) -> None:
        """Called when the weights are updated."""

    def step(self, forward: nn.Module, images: Tensor, batch: Batch) -> Tensor:
        """One step: encode, loss, update of the weights; the loss, detached.

        Args:
            forward: this module, with gradients averaged over the ranks.
            images: float32 (b, 3, S, S), this rank's part of the batch, augmented; of a method with two views (v b, 3, S, S), all
                images' first views before their second.
        """
        self.train()
        self.encoder.train(self.config.epochs_first != 0)  # what starts from weights as they are keeps their batch statistics
        with precision(self.config, images.device):
            outputs = forward(images.contiguous(memory_format=torch.channels_last))
        outputs = outputs.float() if isinstance(outputs, Tensor) else tuple(each.float() for each in outputs)
        loss = self.loss(outputs, batch)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        # DistributedDataParallel takes the mean over the ranks; the loss is already one
        (loss * self.bank.ranks.size).backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers:
            optimiser.step()
        self.after_step(outputs, batch)
        return loss.detach()

    def samples(self, count: int) -> Tensor | None:
        """Pictures that it makes up as it is now, uint8 (count, S, S, 3) on the CPU; ``None`` of a method that makes none."""
        return None

    def rng(self, purpose: str, *where: int) -> torch.Generator:
        """The CPU generator of a purpose, such as ``("negatives", batch.round, batch.epoch, batch.step)``."""
        return generator(self.config.seed, purpose, *where)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it beside the encoder and the first optimiser."""
        tensors = {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}
        return {"tensors": tensors, "optimisers": [each.state_dict() for each in self.optimisers[1:]]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.load_state_dict({**self.state_dict(), **state["tensors"]})  # the encoder stays as it is
        for optimiser, saved in zip(self.optimisers[1:], state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 where the configuration says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
