"""How far the work is, for whoever waits: a line now and then in ``progress.jsonl``, beside the events that are kept."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from core.ground.reports import Plan, ProgressLine, Step

_SECONDS = 1.0  # between two lines about one step


class Progress:
    """Writes a ``ProgressLine`` now and then. Without a file it says nothing. ``worker/training/progress.py`` knows
    what each step costs.

    Args:
        path: a file that is written anew.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._step, self._told = path, "", 0.0
        if path:
            path.write_text("")

    def at(self, step: Step, done: float, plan: Plan | None = None) -> None:
        """``done``: 0 to 1. Of one step only some calls are told; of a new one always the first."""
        now = time.monotonic()
        if self._path is None or (step == self._step and now - self._told < _SECONDS):
            return
        self._step, self._told = step, now
        line: ProgressLine = {"step": step, "done": min(1.0, done), "at": now}
        if plan:
            line["plan"] = plan
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def through(self, step: Step, batches: Iterable[Tensor], count: int) -> Iterator[Tensor]:
        """The batches of ``count`` rows in all, telling after each."""
        seen = 0
        self.at(step, 0.0)
        for batch in batches:
            yield batch
            seen += len(batch)
            self.at(step, seen / max(count, 1))
