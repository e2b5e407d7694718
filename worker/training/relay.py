"""From a training process's files to the job's row: events that are kept, and how far it is."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from core.ground import finite
from core.ground.folders import RunFolder
from core.ground.reports import Event, JobProgress, Plan, ProgressLine, Step
from core.jobs import reporting
from core.jobs.context import JobContext
from core.store.db import AWAY
from worker.training.costs import Work
from worker.training.progress import Estimate

log = logging.getLogger(__name__)
_TELL_SECONDS = 1.0  # between two writes of the progress alone


class _Tail:
    """The complete lines of a growing file, each once."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def lines(self) -> list[Any]:
        """The new ones, read as JSON."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._read)
            *lines, rest = file.read().split(b"\n")
            self._read = file.tell() - len(rest)
        return [finite.loads(line) for line in lines]


class Ending(TypedDict):
    """Values of the row of a training that has succeeded."""

    progress: JobProgress
    paces: dict[str, float]  # how long each step took, as a multiple of its cost


class Relay:
    """Writes the events and the progress of one attempt at a training job into its row.

    Args:
        sizes: the sizes on which the job's cost depends, from the trainer's plan.
    """

    def __init__(self, context: JobContext, run: RunFolder, estimate: Estimate, sizes: Callable[[Plan], Work]) -> None:
        self._context, self._estimate, self._sizes = context, estimate, sizes
        self._events, self._progress = _Tail(run.events), _Tail(run.progress)
        self._pending: list[Event] = []
        self._written_at = 0.0

    def follow(self, path: Path) -> None:
        """The progress of a further process is in another file."""
        self._progress = _Tail(path)

    def enter(self, step: Step) -> None:
        """A step of the worker's own begins."""
        self._estimate.advance(step)
        self._tell()

    def ending(self) -> Ending:
        return {"progress": reporting.timestamped(self._estimate.finished()), "paces": self._estimate.paces()}

    def try_forward(self) -> None:
        """A database that is away must not end the training: what was read is kept for the next time."""
        try:
            self.forward()
        except AWAY as error:
            log.warning("%s: the database is away, its events wait: %s", self._context.job_id, error)

    def forward(self) -> None:
        """Store every complete line that was not stored yet, and every second how far the job is."""
        lines: list[ProgressLine] = self._progress.lines()
        for line in lines:
            if "plan" in line:
                self._estimate.plan(self._sizes(line["plan"]))
            self._estimate.advance(line["step"], line["done"], line["at"])
        new: list[Event] = self._events.lines()
        for event in new:
            if event["type"] == "epoch":
                self._estimate.epoch(event)
        self._pending += new
        if self._pending:
            self._written_at = time.monotonic()
            reporting.record_events(self._context.db, self._context.claim, self._pending, self._estimate.progress())
            self._pending = []
        elif time.monotonic() - self._written_at >= _TELL_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._written_at = time.monotonic()
        reporting.record_progress(self._context.db, self._context.claim, self._estimate.progress())
