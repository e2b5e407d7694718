"""Speed and memory of training, as ratios measured in one run: ``make bench-trainer``.

Prints a table and, as the last line, one JSON object. Pairs that are compared take turns, and the median of the turns'
ratios counts, so that a machine that is slower for a while slows both sides.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import shared_data
from benchmarks.trainer import sharing
from benchmarks.trainer.steps import BATCH, DEVICE, DIM, TAU, Training, in_turns, random_images, seconds, unit
from benchmarks.trainer.textbook import TextbookLoop
from trainer.data.pixels import open_store
from trainer.data.sources import open_source
from trainer.loss import neighbourhood_loss
from trainer.machine.ranks import Ranks
from trainer.neighbourhoods import TILES, MemoryBank, discover


@dataclass(frozen=True)
class Size:
    """How much is done: what the README quotes, or only enough to see that it runs."""

    small: int = 10_000  # images
    usual: int = 50_000
    large: int = 200_000
    largest: int = 1_281_167  # ImageNet's
    slices: int = 1_000  # of the largest, of which one is discovered
    batch: int = BATCH
    turns: int = 1  # times the usual number; at least one turn is taken


FULL, TINY = Size(), Size(small=600, usual=600, large=2_000, largest=20_000, slices=20, batch=8, turns=0)


def step_ratio(backbone: str, count: int, batch: int, turns: int) -> tuple[float, str]:
    """The whole step over the bare backbone's."""
    training = Training.of(random_images(count), backbone, 32, batch)
    bare, step, ratio = in_turns(training.bare, training.step, turns)
    return ratio, f"{batch / step:.0f} of {batch / bare:.0f} images/s, {training.config.precision}"


def speedup_over_textbook(count: int, batch: int, turns: int) -> tuple[float, str]:
    """The trainer's step against the textbook's, ResNet-18."""
    training = Training.of(random_images(count), "resnet18", 32, batch)
    with TextbookLoop(count, DIM, batch, TAU) as textbook:
        slow, fast, ratio = in_turns(textbook.step, training.step, turns, warm_up=2)
    return ratio, f"{batch / fast:.0f} against {batch / slow:.0f} images/s"


def discovery_ratio(count: int, turns: int) -> tuple[float, str]:
    """Discovery over the bare blocked matrix product."""
    bank = MemoryBank(unit(count))
    rows, columns = TILES[DEVICE.type]
    buffer = bank.rows.new_empty(rows * columns)

    def product() -> None:
        for query in torch.split(bank.rows, rows):
            for key in torch.split(bank.rows, columns):
                torch.mm(query, key.T, out=buffer[: len(query) * len(key)].view(len(query), -1))

    found, bare, ratio = in_turns(lambda: discover(bank, 1, TAU), product, turns, warm_up=1)
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


def discovery_peak(size: Size) -> None:
    """In a process of its own: a slice of the rows against all columns; the rest would reuse the same memory."""
    whole = unit(size.largest)
    outputs = torch.empty(size.largest, 4)  # entropy, sums and neighbours of all rows
    ranks = OneOf(0, size.slices, whole)
    start, end = ranks.bounds(size.largest)
    bank = MemoryBank(whole[start:end], ranks=ranks, count=size.largest)
    spent = seconds(lambda: discover(bank, 1, TAU))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"peak": peak, "projected_seconds": spent * size.slices, "rows": end - start, "outputs": outputs.numel()}))


def streamed_loss_peak(size: Size) -> None:
    """In a process of its own: peak resident memory of forward and backward above what was there before."""
    bank, z, rows = MemoryBank(unit(size.largest)), unit(BATCH, 1).requires_grad_(), torch.arange(BATCH)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    neighbourhood_loss(z, rows, bank, None, TAU).backward()
    print(json.dumps({"peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20}))


PARTS = {"discovery-peak": discovery_peak, "streamed-loss-peak": streamed_loss_peak}


def alone(part: str, size: Size) -> dict[str, float]:
    """What a part of ``PARTS`` printed in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trainer", part, *(["--tiny"] if size == TINY else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def streamed_loss_time_ratio(count: int, turns: int) -> tuple[float, str]:
    """The streamed loss over the dense one, forward and backward."""
    bank, rows = MemoryBank(unit(count)), torch.arange(BATCH, device=DEVICE)

    def streamed() -> None:
        z = unit(BATCH, 1).requires_grad_()
        neighbourhood_loss(z, rows, bank, None, TAU).backward()

    def dense() -> None:
        z = unit(BATCH, 1).requires_grad_()
        F.cross_entropy(z @ bank.rows.T / TAU, rows).backward()

    ours, theirs, ratio = in_turns(streamed, dense, turns)
    return ratio, f"{1e3 * ours:.0f} ms against {1e3 * theirs:.0f} ms"


def data_wait_fraction(source: Path) -> tuple[float, str]:
    """ResNet-18 on photographs at 224 pixels that loader processes decode for every step."""
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


def measure(size: Size, only: str | None) -> dict[str, float | None]:
    """Every figure, or those of one part, printed as soon as it is there."""
    figures: dict[str, float | None] = {}

    def report(name: str, wanted: str, found: tuple[float, str]) -> None:
        figures[name] = round(found[0], 4)
        print(f"{name:<28} {found[0]:10.3f}   wanted {wanted:<8} {found[1]}", flush=True)

    print(f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {DEVICE}, torch {torch.__version__}")
    if only != "steps":
        sharing.measure(size == TINY, report)
    if only == "threads":
        return figures
    report("step_ratio_resnet18", ">= 0.85", step_ratio("resnet18", size.usual, size.batch, 7 * size.turns))
    report("step_ratio_small_10k", ">= 0.7", step_ratio("resnet10", size.small, size.batch, 60 * size.turns))
    report("step_ratio_small_50k", ">= 0.5", step_ratio("resnet10", size.usual, size.batch, 60 * size.turns))
    report("speedup_over_textbook", ">= 2.5", speedup_over_textbook(size.usual, size.batch, 4 * size.turns))
    report("discovery_ratio", "<= 1.5", discovery_ratio(size.usual, 3 * size.turns))
    peak = alone("discovery-peak", size)
    words = f"{peak['rows']:.0f} of {size.largest:,} rows; all would take {peak['projected_seconds'] / 60:.0f} min"
    report("discovery_peak_gib", "< 4", (peak["peak"], words))
    report("streamed_loss_peak_gib", "<= 0.25", (alone("streamed-loss-peak", size)["peak"], f"N = {size.largest:,}"))
    report("streamed_loss_time_ratio", "<= 1.3", streamed_loss_time_ratio(size.large, 15 * size.turns))
    photographs = shared_data.FOLDER / "clothing-small-train.zip"
    if size == FULL and photographs.exists():
        report("data_wait_fraction", "< 0.1", data_wait_fraction(photographs))
    else:
        figures["data_wait_fraction"] = None
        print(f"data_wait_fraction is not measured: it needs {photographs}")
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainer", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: few images, one turn, no photographs")
    parser.add_argument(
        "--only", choices=("steps", "threads"), help="one part: a process's steps, or trainings that share a machine"
    )
    parser.add_argument("part", nargs="?", choices=PARTS, help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args(argv)
    torch.set_flush_denormal(True)
    size = TINY if arguments.tiny else FULL
    if arguments.part:
        PARTS[arguments.part](size)
    else:
        print(json.dumps(measure(size, arguments.only)))


if __name__ == "__main__":
    main()
