"""Checks many files with several decoders at once and keeps their order."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.ground.pictures.imaging import ImageError
from core.untrusted.decoding import Checked, Decoders

_BATCH_FILES, _BATCH_BYTES = 64, 1 << 20  # sent together
_AHEAD_BYTES = 64 << 20  # held while they are decoded
T = TypeVar("T")


@dataclass
class _Batch(Generic[T]):
    """Items in their order, each with its file or with an answer that needed no decoding."""

    items: list[tuple[T, ImageError | None]] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    bytes: int = 0
    answers: Future[list[Checked | ImageError]] | None = None


class Pipeline(Generic[T]):
    """Has files checked by several decoders at once and returns their items in the order in which they were put in."""

    def __init__(self, decoders: Decoders, max_pixels: int) -> None:
        self._decoders, self._max_pixels = decoders, max_pixels
        self._threads = ThreadPoolExecutor(decoders.max_processes, "decoding")  # each waits for one decoder
        self._batch: _Batch[T] = _Batch()
        self._running: deque[_Batch[T]] = deque()
        self._bytes = 0

    def put(self, item: T, file: bytes, refused: ImageError | None = None) -> list[tuple[T, Checked | ImageError]]:
        """Add an item; returns the items that are done.

        Args:
            refused: why the item is refused already; it is not decoded and only keeps its place in the order.
        """
        self._batch.items.append((item, refused))
        if refused is None:
            self._batch.files.append(file)
        self._batch.bytes += len(file)
        self._bytes += len(file)
        if len(self._batch.items) >= _BATCH_FILES or self._batch.bytes >= _BATCH_BYTES:
            self._send()
        done: list[tuple[T, Checked | ImageError]] = []
        while len(self._running) > 2 * self._decoders.max_processes or (self._running and self._bytes > _AHEAD_BYTES):
            done += self._finish_oldest()
        return done

    def drain(self) -> list[tuple[T, Checked | ImageError]]:
        """Wait for all items that were put in and not returned yet, and return them."""
        self._send()
        done: list[tuple[T, Checked | ImageError]] = []
        while self._running:
            done += self._finish_oldest()
        return done

    def close(self) -> None:
        """Close the decoders without waiting for what is running."""
        self._decoders.close()
        self._threads.shutdown(cancel_futures=True)

    def _send(self) -> None:
        if self._batch.items:
            self._batch.answers = self._threads.submit(self._decoders.check, self._batch.files, self._max_pixels)
            self._running.append(self._batch)
            self._batch = _Batch()

    def _finish_oldest(self) -> list[tuple[T, Checked | ImageError]]:
        batch = self._running.popleft()
        assert batch.answers is not None
        answers = iter(batch.answers.result())
        self._bytes -= batch.bytes
        return [(item, refused or next(answers)) for item, refused in batch.items]
