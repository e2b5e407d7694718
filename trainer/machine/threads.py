"""How many threads torch computes with: the number with which steps of training took least time on this machine, as it is now.

Threads of one operation wait for each other. Where another program has one of their cores, all wait for that program, and one
thread is several times faster than two; small images are faster with one thread in any case. The choice is made anew at each
round's start, when the speed falls, and now and then. Another number of threads adds in another order, so each choice is kept in
a file, and a resumed run makes the steps again with the threads that the interrupted one took.
"""

import json
import logging
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from core.ground.durable import write_text
from core.ground.folders import Position, RunFolder

log = logging.getLogger("trainer")

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_LOOKED_SECONDS = 0.25  # for what is idle
_TRIED_SECONDS, _TRIED_STEPS = 0.4, 2  # of steps that are timed with a number of threads, at least both; one more goes before
_HOPELESS = 0.8  # of the best speed: fewer threads are not tried, and nothing is tried twice
_WATCHED_SECONDS = 4.0  # over which a speed is taken
_FALLEN, _FALLEN_FOR = 2 / 3, 2  # of the speed before, that many times one after another: try again
_AGAIN_SECONDS = 120.0  # others may have left the machine

Step = tuple[int, float]  # images, seconds


def cpus() -> int:
    """Processors that this process may use: those it is bound to, or as many as its container's share amounts to."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_LIMIT.read_text().split()
        return max(1, min(bound, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit, which reads "max"
        return bound


def free_cpus() -> int:
    """Processors of this process that nobody uses at the moment, at least one; it looks for a quarter of a second. Where the
    system does not say, those of ``cpus``."""
    try:
        before, began = _idle_seconds(), time.monotonic()
        time.sleep(_LOOKED_SECONDS)
        idle = (_idle_seconds() - before) / (time.monotonic() - began)
    except OSError:
        return cpus()
    return min(cpus(), max(1, round(idle)))


def _idle_seconds() -> float:
    """How long processors have had nothing to do since the system started, added up (proc(5))."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def numbers_to_try(most: int) -> list[int]:
    """The number of threads at most, and the powers of two below it, largest first."""
    return [most, *(2**power for power in reversed(range(most.bit_length())) if 2**power < most)]


def choose(numbers: Sequence[int]) -> Generator[int, Step, None]:
    """Yields the number of threads for the next step, and takes what that step was; without end."""
    while True:
        best, speed = yield from _try(numbers)
        yield from _watch(best, speed)


def _try(numbers: Sequence[int]) -> Generator[int, Step, tuple[int, float]]:
    """The fastest of the numbers and its speed, images/s. What is close to the best is timed twice, and its better speed counts,
    since others come and go."""
    speeds: dict[int, float] = {}
    for number in numbers:
        speeds[number] = yield from _timed(number)
        if speeds[number] < _HOPELESS * max(speeds.values()):
            break
    close = [number for number in speeds if speeds[number] >= _HOPELESS * max(speeds.values())]
    for number in close if len(close) > 1 else []:
        speeds[number] = max(speeds[number], (yield from _timed(number)))
    best = max(speeds, key=lambda number: speeds[number])
    log.info("threads: %s: %d", ", ".join(f"{speed:,.0f} images/s with {number}" for number, speed in speeds.items()), best)
    return best, speeds[best]


def _timed(number: int) -> Generator[int, Step, float]:
    yield number  # starts the threads
    images, seconds, steps = 0, 0.0, 0
    while seconds < _TRIED_SECONDS or steps < _TRIED_STEPS:
        step = yield number
        images, seconds, steps = images + step[0], seconds + step[1], steps + 1
    return images / seconds


def _watch(number: int, speed: float) -> Generator[int, Step, None]:
    """Goes on until the speed has fallen or it is time to try again."""
    fallen, watched = 0, 0.0
    while fallen < _FALLEN_FOR and watched < _AGAIN_SECONDS:
        images, seconds = 0, 0.0
        while seconds < _WATCHED_SECONDS:
            step = yield number
            images, seconds = images + step[0], seconds + step[1]
        fallen = fallen + 1 if images / seconds < _FALLEN * speed else 0
        speed, watched = max(speed, images / seconds), watched + seconds


@dataclass
class Threads:
    """Sets torch's number of threads for each step of a run.

    Attributes:
        most: the number beside the steps, and the largest for them.
        path: the file of the choices; ``None`` where the number is fixed.
        taken: what the run took so far, and what an interrupted one took after the checkpoint: the number from a position on.
    """

    most: int
    path: Path | None = None
    taken: Mapping[Position, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ahead = sorted(self.taken.items())
        self._numbers = numbers_to_try(self.most)
        self._choice, self._round, self._chosen, self._now = choose(self._numbers), -1, self.most, 0
        self._ended: float | None = None  # the step before; what happens between steps now and then is not timed

    @classmethod
    def of_run(cls, out_dir: Path, earlier: Sequence[Path], device: torch.device, fixed: bool) -> "Threads":
        """Those of a run in ``out_dir``, which goes on with what its newest attempt took.

        Args:
            out_dir: the run's folder.
            earlier: folders of earlier attempts, oldest first.
            device: on a GPU the number stays as it is.
            fixed: it stays as it is anywhere.
        """
        most = min(torch.get_num_threads(), cpus())
        if fixed or device.type != "cpu" or most == 1:
            return cls(torch.get_num_threads())
        torch.set_num_threads(most)
        files = [RunFolder(folder).threads for folder in (out_dir, *reversed(earlier))]
        taken = next((_read(path) for path in files if path.exists()), {})
        if max(taken.values(), default=0) > most:
            taken = {}  # another machine took them
        write_text(files[0], "".join(_line(at, number) for at, number in taken.items()))
        return cls(most, files[0], taken)

    def before_step(self, position: Position) -> None:
        """Take the threads for the step at a position."""
        if self.path is None:
            return
        while self._ahead and self._ahead[0][0] <= position:
            self._now = self._ahead.pop(0)[1]
        if not self._ahead:
            if position.round != self._round:
                self._choice, self._round = choose(self._numbers), position.round
                self._chosen = next(self._choice)
            if self._chosen != self._now:
                self._now = self._chosen
                self._keep(position)
        _set(self._now)

    def after_step(self, images: int) -> None:
        """The step has been made, of that many images."""
        if self.path is None:
            return
        ended, self._ended = self._ended, time.monotonic()
        if ended is not None and self._round >= 0:
            self._chosen = self._choice.send((images, self._ended - ended))

    def do_not_time(self) -> None:
        """Something else than a step comes before the next one ends."""
        self._ended = None

    def after_epoch(self, position: Position) -> None:
        """The last step of an epoch has been made; ``position`` is the next. What was told of an epoch stays true of a run that
        is resumed before it, so that its numbers are kept to the end. Until the next step all threads are taken."""
        if self.path is None:
            return
        if not self._ahead:
            self._keep(position)
        self.do_not_time()
        _set(self.most)

    def _keep(self, position: Position) -> None:
        assert self.path is not None
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(position, self._now))


def _set(number: int) -> None:
    if torch.get_num_threads() != number:
        torch.set_num_threads(number)


def _line(position: Position, number: int) -> str:
    line = {"round": position.round, "epoch": position.epoch, "step": position.step, "threads": number}
    return json.dumps(line, allow_nan=False) + "\n"


def _read(path: Path) -> dict[Position, int]:
    """The lines of a file; a last one that was cut off is left out."""
    taken = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            at = json.loads(line)
            taken[Position(at["round"], at["epoch"], at["step"])] = int(at["threads"])
    return taken
