"""Steps of training without end, random images and vectors to take them on, and the clock that compares two kinds of work."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import TrainConfig
from trainer.data.decoded import DecodedImages
from trainer.data.pixels import PixelStore
from trainer.machine.ranks import Ranks
from trainer.methods.method import Batch, precision
from trainer.resolve import resolve
from trainer.run import Run
from trainer.train import _plan

BATCH, DIM, TAU = 128, 128, 0.1
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(
    first: Callable[[], object], second: Callable[[], object], turns: int, warm_up: int = 2
) -> tuple[float, float, float]:
    """Median seconds of each, and the median of first over second."""
    for _ in range(warm_up):
        seconds(first), seconds(second)
    pairs = [(seconds(first), seconds(second)) for _ in range(max(1, turns))]
    a, b = zip(*pairs, strict=True)
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in pairs)


def unit(count: int, seed: int = 0) -> Tensor:
    rows = torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1, out=rows).to(DEVICE)


@dataclass
class Training:
    """The trainer's own step on a store of images, without end."""

    config: TrainConfig
    store: PixelStore
    run: Run

    @classmethod
    def of(cls, store: PixelStore, backbone: str, side: int, batch: int = BATCH) -> "Training":
        count = len(store.sizes)
        params = {"preset": "paper", "backbone": backbone, "image_size": side, "batch_size": batch, "device": DEVICE.type}
        config = resolve(TrainConfig.make(params), count, side)
        run = Run.start(config, "", count, DEVICE, Ranks())
        run.method.optimisers[0].param_groups[0]["lr"] = 1e-3
        return cls(config, store, run)

    def __post_init__(self) -> None:
        assert self.config.image_size is not None
        self.side = self.config.image_size
        order = torch.randperm(len(self.store.sizes), generator=torch.Generator().manual_seed(0))
        self.steps = list(torch.split(order, self.config.batch_size))[:-1] * 4
        plan = _plan(self.config, self.store, Ranks(), self.steps, 0, 0, 0)
        self.batches = zip(self.steps, self.store.augmented(plan, self.side, DEVICE), strict=True)
        self.sample = torch.rand(self.config.batch_size, 3, self.side, self.side, device=DEVICE)
        self.sample = self.sample.contiguous(memory_format=torch.channels_last)

    def step(self) -> None:
        rows, images = next(self.batches)
        self.run.method.step(self.run.method, images, Batch(rows.to(DEVICE), None, 0, 0, 0, 0.0))

    def bare(self) -> None:
        """Forward and backward of the backbone alone, in the same precision and layout."""
        self.run.encoder.train()
        self.run.method.optimisers[0].zero_grad(set_to_none=True)
        with precision(self.config, DEVICE):
            z = self.run.encoder(self.sample)
        z.sum().backward()


def random_images(count: int) -> DecodedImages:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return DecodedImages(pixels, torch.full((count, 2), 32.0))
