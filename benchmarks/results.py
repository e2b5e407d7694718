"""What a resumable benchmark keeps: one JSON object a line, found again by its ``key``."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

Result = dict[str, Any]


class Results:
    """Results in a file. Failures are kept, too, and tried again by the next call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, key: Result) -> Result | None:
        """The last result of this key, unless that was a failure."""
        last = self.tried(key)[-1:]
        return last[0] if last and "failed" not in last[0] else None

    def tried(self, key: Result) -> list[Result]:
        """All results of this key, failures among them, oldest first."""
        wanted = json.loads(json.dumps(key))
        return [line for line in self.lines if line["key"] == wanted]

    def last(self, name: str, **key: Any) -> Any:
        """What the last result whose key holds these has for ``name`` in its key; ``None`` without one."""
        found = [line["key"] for line in self.lines if key.items() <= line["key"].items()]
        return found[-1].get(name) if found else None

    def add(self, key: Result, figures: Result) -> Result:
        """Keep what came of a key: figures, or ``failed`` with the reason."""
        line: Result = json.loads(json.dumps({"key": key, **figures}))
        self.lines.append(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and 95 % interval of a few values by Student's t; without one of fewer than two."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}
