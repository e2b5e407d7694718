"""Speed and memory of training, as ratios measured in one run: ``make bench-trainer``.

Prints a table and, as the last line, one JSON object. Pairs that are compared take turns, and the median of the turns'
ratios counts, so that a machine that is slower for a while slows both sides.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.textbook import TextbookLoop
from trainer.config import TrainConfig
from trainer.data.decoded import DecodedImages
from trainer.data.pixels import PixelStore, open_store
from trainer.data.sources import open_source
from trainer.loss import neighbourhood_loss
from trainer.neighbourhoods import TILES, MemoryBank, discover
from trainer.ranks import Ranks
from trainer.resolve import resolve
from trainer.run import Run
from trainer.train import _plan, _step, precision

DATA = Path(__file__).parents[2] / "shared/data"
IMAGENET = 1_281_167
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
    pairs = [(seconds(first), seconds(second)) for _ in range(turns)]
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
        run.optimiser.param_groups[0]["lr"] = 1e-3
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
        _step(self.config, self.run, self.run.encoder, rows, images)

    def bare(self) -> None:
        """Forward and backward of the backbone alone, in the same precision and layout."""
        self.run.encoder.train()
        self.run.optimiser.zero_grad(set_to_none=True)
        with precision(self.config, DEVICE):
            z = self.run.encoder(self.sample)
        z.sum().backward()


def random_images(count: int) -> DecodedImages:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return DecodedImages(pixels, torch.full((count, 2), 32.0))


def step_ratio(backbone: str, count: int, turns: int) -> tuple[float, str]:
    training = Training.of(random_images(count), backbone, 32)
    bare, step, ratio = in_turns(training.bare, training.step, turns)
    return ratio, f"{BATCH / step:.0f} of {BATCH / bare:.0f} images/s, {training.config.precision}"


def speedup_over_textbook() -> tuple[float, str]:
    """The trainer's step against the textbook's, ResNet-18 and 50,000 images."""
    training = Training.of(random_images(50_000), "resnet18", 32)
    with TextbookLoop(50_000, DIM, BATCH, TAU) as textbook:
        slow, fast, ratio = in_turns(textbook.step, training.step, turns=4, warm_up=2)
    return ratio, f"{BATCH / fast:.0f} against {BATCH / slow:.0f} images/s"


def discovery_ratio() -> tuple[float, str]:
    bank = MemoryBank(unit(50_000))
    rows, columns = TILES[DEVICE.type]
    buffer = bank.rows.new_empty(rows * columns)

    def product() -> None:
        for query in torch.split(bank.rows, rows):
            for key in torch.split(bank.rows, columns):
                torch.mm(query, key.T, out=buffer[: len(query) * len(key)].view(len(query), -1))

    found, bare, ratio = in_turns(lambda: discover(bank, 1, TAU), product, turns=3, warm_up=1)
    return ratio, f"{found:.2f} s against {bare:.2f} s"


@dataclass(frozen=True)
class OneOf(Ranks):
    """One rank of many without the others: all rows are here, and it does its own part of the work."""

    rows: Tensor = field(default_factory=lambda: torch.empty(0))

    def part_of(self, part: Tensor, source: int, count: int) -> Tensor:
        start, end = self.bounds(count, source)
        return self.rows[start:end]

    def gather(self, part: Tensor, count: int) -> Tensor:
        return part


def discovery_peak() -> None:
    """In a process of its own: a slice of the rows against all columns; the rest would reuse the same memory."""
    slices = 1000
    whole = unit(IMAGENET)
    outputs = torch.empty(IMAGENET, 4)  # entropy, sums and neighbours of all rows
    ranks = OneOf(0, slices, whole)
    start, end = ranks.bounds(IMAGENET)
    bank = MemoryBank(whole[start:end], ranks=ranks, count=IMAGENET)
    spent = seconds(lambda: discover(bank, 1, TAU))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"peak": peak, "projected_seconds": spent * slices, "rows": end - start, "outputs": outputs.numel()}))


def streamed_loss_peak() -> None:
    """In a process of its own: peak resident memory of forward and backward above what was there before."""
    bank, z, rows = MemoryBank(unit(IMAGENET)), unit(BATCH, 1).requires_grad_(), torch.arange(BATCH)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    neighbourhood_loss(z, rows, bank, None, TAU).backward()
    print(json.dumps({"peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20}))


def alone(name: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.trainer", name], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def streamed_loss_time_ratio() -> tuple[float, str]:
    bank, rows = MemoryBank(unit(200_000)), torch.arange(BATCH, device=DEVICE)

    def streamed() -> None:
        z = unit(BATCH, 1).requires_grad_()
        neighbourhood_loss(z, rows, bank, None, TAU).backward()

    def dense() -> None:
        z = unit(BATCH, 1).requires_grad_()
        F.cross_entropy(z @ bank.rows.T / TAU, rows).backward()

    ours, theirs, ratio = in_turns(streamed, dense, turns=15)
    return ratio, f"{1e3 * ours:.0f} ms against {1e3 * theirs:.0f} ms"


def data_wait_fraction() -> tuple[float, str] | None:
    """ResNet-18 on photographs at 224 pixels that loader processes decode for every step."""
    source = DATA / "clothing-small-train.zip"
    if not source.exists():
        return None
    with TemporaryDirectory() as scratch:
        store = open_store(open_source(source), 224, Path(scratch), Ranks(), DEVICE, budget=0)
    training = Training.of(store, "resnet18", 224, batch=64)
    for _ in range(2):
        training.step()
    before = store.waited

    def steps() -> None:
        for _ in range(8):
            training.step()

    spent = seconds(steps)
    return (store.waited - before) / spent, f"{8 * 64 / spent:.0f} images/s; {store.choice}"


def main() -> None:
    torch.set_flush_denormal(True)
    figures: dict[str, float | None] = {}

    def report(name: str, wanted: str, found: tuple[float, str] | None) -> None:
        figures[name] = None if found is None else round(found[0], 4)
        value = "not measured" if found is None else f"{found[0]:10.3f}"
        print(f"{name:<26} {value}   wanted {wanted:<8} {found[1] if found else 'clothing-small is absent'}", flush=True)

    print(f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {DEVICE}, torch {torch.__version__}")
    report("step_ratio_resnet18", ">= 0.85", step_ratio("resnet18", 50_000, turns=7))
    report("step_ratio_small_10k", ">= 0.7", step_ratio("resnet10", 10_000, turns=60))
    report("step_ratio_small_50k", ">= 0.5", step_ratio("resnet10", 50_000, turns=60))
    report("speedup_over_textbook", ">= 2.5", speedup_over_textbook())
    report("discovery_ratio", "<= 1.5", discovery_ratio())
    peak = alone("discovery-peak")
    words = f"{peak['rows']:.0f} of {IMAGENET:,} rows; all would take {peak['projected_seconds'] / 60:.0f} min"
    report("discovery_peak_gib", "< 4", (peak["peak"], words))
    report("streamed_loss_peak_gib", "<= 0.25", (alone("streamed-loss-peak")["peak"], f"N = {IMAGENET:,}"))
    report("streamed_loss_time_ratio", "<= 1.3", streamed_loss_time_ratio())
    report("data_wait_fraction", "< 0.1", data_wait_fraction())
    print(json.dumps(figures))


if __name__ == "__main__":
    {"discovery-peak": discovery_peak, "streamed-loss-peak": streamed_loss_peak}.get(sys.argv[-1], main)()
