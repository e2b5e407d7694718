"""What a training process writes: JSON lines in its ``trainer.log``, shown among the worker's own where those are JSON, too."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Output:
    """The log file of a training process, appended to.

    Args:
        shown: whether its lines are also written to stderr, since they name their job themselves.
    """

    def __init__(self, path: Path, shown: bool) -> None:
        self._path, self._show = path, shown

    def __enter__(self) -> Self:
        self.file: IO[bytes] = open(self._path, "ab")
        self._copied = open(self._path, "rb")
        self._copied.seek(0, 2)
        self._rest = b""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.show()
        self.file.close()
        self._copied.close()

    def show(self) -> None:
        """Copy the lines that are new."""
        if not self._show:
            return
        *lines, self._rest = (self._rest + self._copied.read()).split(b"\n")
        for line in lines:
            print(line.decode("utf-8", "replace"), file=sys.stderr)

    def last_words(self) -> str:
        """The newest line, or where lines are JSON objects the newest line of its exception or message."""
        lines = [line for line in self._path.read_text("utf-8", "replace").splitlines() if line.strip()]
        if not lines:
            return "the training process ended without a word"
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(lines[-1])
            return str(entry.get("exception") or entry["message"]).strip().splitlines()[-1]
        return lines[-1]
