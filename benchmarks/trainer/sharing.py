"""How fast whole trainings are on a machine that they share: alone, beside a program that keeps one processor busy, two at once.

The number of threads that the trainer chooses is compared with every fixed number among which it chooses.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import shared_data
from core.ground.folders import RunFolder
from service.operations.demo import write_digits
from trainer.machine.threads import cpus, numbers_to_try

_EPOCHS = 200  # more than are waited for
_BUSY = [sys.executable, "-c", "while True: pass"]
CHOSEN = 0  # of --threads


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program beside; it is killed in the end."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def training(images: Path, out: Path, threads: int) -> list[str]:
    """The command of a training with the preset ``quick``."""
    command = [sys.executable, "-m", "trainer", "run", str(images), "--out", str(out), "--device", "cpu", "--rounds", "1"]
    return [*command, "--epochs-first", str(_EPOCHS), "--threads", str(threads)]


def speeds(images: Path, count: int, threads: int, seconds: float, trainings: int = 1, busy: bool = False) -> float:
    """Images/s of all trainings together, over the time in which all of them train; choosing is a part of it."""
    with TemporaryDirectory() as work, ExitStack() as beside:
        if busy:
            beside.enter_context(running(_BUSY))
        folders = [Path(work) / str(number) for number in range(trainings)]
        children = [beside.enter_context(running(training(images, folder, threads))) for folder in folders]
        started = None
        while True:
            time.sleep(0.2)
            if any(child.poll() is not None for child in children):
                raise RuntimeError(f"a training of {images} ended before it was measured")
            told = [_steps(folder) for folder in folders]
            if not all(told):
                continue
            started = started or time.monotonic()
            begin, end = max(lines[0][0] for lines in told), min(lines[-1][0] for lines in told)
            within = [[line for line in lines if begin <= line[0] <= end] for lines in told]
            if time.monotonic() - started >= seconds and all(len(lines) > 1 for lines in within):
                break
    return sum((lines[-1][1] - lines[0][1]) * _EPOCHS * count / (lines[-1][0] - lines[0][0]) for lines in within)


def _steps(run: Path) -> list[tuple[float, float]]:
    """Moments and shares of the training that were done by then."""
    path = RunFolder(run).progress
    lines = path.read_text().splitlines() if path.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("}")]
    return [(line["at"], line["done"]) for line in told if line["step"] == "epochs"]


def measure(tiny: bool, report: Callable[[str, str, tuple[float, str]], None]) -> None:
    """Report every ratio."""
    with TemporaryDirectory() as work:
        sets = {"digits": (write_digits(Path(work))[0], 1437)}
        photographs = shared_data.FOLDER / "cifar10-train-10k.zip"
        if photographs.exists() and not tiny:
            sets["cifar10"] = (photographs, 10_000)
        for name, (images, count) in sets.items():
            numbers = numbers_to_try(cpus())[-1:] if tiny else numbers_to_try(cpus())
            _of_one_set(name, images, count, numbers, 1.0 if tiny else 25.0, 1 if tiny else 2, report)


def _of_one_set(
    name: str,
    images: Path,
    count: int,
    numbers: list[int],
    seconds: float,
    turns: int,
    report: Callable[[str, str, tuple[float, str]], None],
) -> None:
    alone = 0.0
    for busy, where, wanted in ((False, "alone", ">= 0.97"), (True, "beside_busy", ">= 0.9")):
        found: dict[int, list[float]] = {number: [] for number in (CHOSEN, *numbers)}
        for _ in range(turns):
            for number, rates in found.items():
                rates.append(speeds(images, count, number, seconds, busy=busy))
        rate = {number: max(rates) for number, rates in found.items()}
        best = max(numbers, key=lambda number: rate[number])
        words = ", ".join(f"{rate[number]:.0f} with {number}" for number in numbers)
        report(f"threads_{name}_{where}", wanted, (rate[CHOSEN] / rate[best], f"{rate[CHOSEN]:.0f} images/s; fixed: {words}"))
        alone = alone or rate[CHOSEN]
    both = max(speeds(images, count, CHOSEN, seconds, trainings=2) for _ in range(turns))
    report(f"threads_{name}_two_at_once", ">= 0.9", (both / alone, f"{both:.0f} images/s together"))
