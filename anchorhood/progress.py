"""What a terminal shows: texts without control characters, and progress on stderr, a bar or elsewhere a line now and then."""

import re
import sys
import time
from typing import IO, Any, Self

from tqdm import tqdm

_QUIET_SECONDS = 10.0  # at least, between two lines

# Controls, with which a name could command the terminal or pass for another line, and what turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(line: str) -> str:
    """A line as a terminal may show it: control characters are escaped, whoever gave a dataset, a file or an error its words.
    Of names that the system holds in bytes, those that are no UTF-8 are escaped, too."""
    if not line.isascii():
        line = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


class Progress:
    """How far something is, from 0 to 1; a context manager."""

    def __init__(self, name: str, enabled: bool) -> None:
        self._name, self._said, self._next = printable(name), "", 0.0
        terminal = enabled and sys.stderr.isatty()
        self._lines = enabled and not terminal
        layout = "{desc}: {percentage:3.0f}%|{bar}|{postfix}"
        self._bar = tqdm(total=1.0, desc=self._name, bar_format=layout, mininterval=0.2) if terminal else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, fraction: float | None, text: str = "", news: bool = False) -> None:
        """Say where it stands; ``news`` is said at once in lines, too."""
        text = printable(text)
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.n = self._bar.n if fraction is None else min(fraction, 1.0)
            self._bar.refresh()
        elif self._lines:
            share = "" if fraction is None else f" {fraction:.0%}"
            line = f"{self._name}:{share}{', ' if share and text else ' '}{text}".rstrip()
            if line != self._said and (news or time.monotonic() >= self._next):
                print(line, file=sys.stderr, flush=True)
                self._said, self._next = line, time.monotonic() + _QUIET_SECONDS


class Counted:
    """A file that shows on a progress bar how much of it was read."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress) -> None:
        self._file, self._size, self._progress, self._done = file, size, progress, 0

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._done += len(data)
        complete = self._done >= self._size
        if data or complete:
            self._progress.show(self._done / self._size if self._size else 1.0, f"of {_size(self._size)}", news=complete)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
