"""Many short texts in one memory-mapped file, which opens at once and takes no memory however many they are."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Texts:
    """A uint8 array: the number of texts N and where each one ends (int64, (N + 1,)), then all of them in UTF-8."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        data = np.asarray(data)  # slicing a memmap itself is many times slower
        count = int(data[:8].view("<i8")[0])
        self._ends = data[: 8 * (count + 1)].view("<i8")
        self._bytes = data[8 * (count + 1) :]
        self._view = memoryview(self._bytes)  # type: ignore[arg-type]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        return cls(_packed(texts))

    @classmethod
    def open(cls, path: Path) -> "Texts":
        return cls(np.load(path, mmap_mode="r"))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> str:
        start = self._ends.item(row) if row else 0
        return str(self._view[start : self._ends.item(row + 1)], "utf-8")

    def starting_with(self, prefix: str) -> NDArray[np.bool_]:
        """Which of the texts begin with a prefix, (N,)."""
        wanted = prefix.encode()
        ends = np.asarray(self._ends[1:])
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
        matching: NDArray[np.bool_] = ends - starts >= len(wanted)
        for at, byte in enumerate(wanted):
            rows = np.flatnonzero(matching)
            matching[rows] = self._bytes[starts[rows] + at] == byte
        return matching


def write(path: Path, texts: Iterable[str]) -> None:
    """Write texts for ``Texts.open``."""
    np.save(path, _packed(texts))


def _packed(texts: Iterable[str]) -> NDArray[np.uint8]:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype="<i8")
    head = np.concatenate([np.array([len(encoded)], "<i8"), ends]).view(np.uint8)
    return np.concatenate([head, np.frombuffer(b"".join(encoded), np.uint8)])
