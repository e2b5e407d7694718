"""Many files are checked by several decoders at once, and their order stays."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from core.ground.imaging import ImageError
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
    """Has files checked by several decoders at once and hands their items back in the order in which they came."""

    def __init__(self, decoders: Decoders, max_pixels: int) -> None:
        self._decoders, self._max_pixels = decoders, max_pixels
        self._threads = ThreadPoolExecutor(decoders.most, "decoding")  # each waits for one decoder
        self._batch: _Batch[T] = _Batch()
        self._running: deque[_Batch[T]] = deque()
        self._bytes = 0

    def put(self, item: T, file: bytes, refused: ImageError | None = None) -> list[tuple[T, Checked | ImageError]]:
        """Take an item, which waits for its turn only where it is ``refused`` already; returns those that are done."""
        self._batch.items.append((item, refused))
        if refused is None:
            self._batch.files.append(file)
        self._batch.bytes += len(file)
        self._bytes += len(file)
        if len(self._batch.items) >= _BATCH_FILES or self._batch.bytes >= _BATCH_BYTES:
            self._send()
        done: list[tuple[T, Checked | ImageError]] = []
        while len(self._running) > 2 * self._decoders.most or (self._running and self._bytes > _AHEAD_BYTES):
            done += self._oldest()
        return done

    def rest(self) -> list[tuple[T, Checked | ImageError]]:
        """All that were put in and have not come out."""
        self._send()
        done: list[tuple[T, Checked | ImageError]] = []
        while self._running:
            done += self._oldest()
        return done

    def close(self) -> None:
        """Wait for nothing; the decoders are closed."""
        self._decoders.close()
        self._threads.shutdown(cancel_futures=True)

    def _send(self) -> None:
        if self._batch.items:
            self._batch.answers = self._threads.submit(self._decoders.check, self._batch.files, self._max_pixels)
            self._running.append(self._batch)
            self._batch = _Batch()

    def _oldest(self) -> list[tuple[T, Checked | ImageError]]:
        batch = self._running.popleft()
        assert batch.answers is not None
        answers = iter(batch.answers.result())
        self._bytes -= batch.bytes
        return [(item, refused or next(answers)) for item, refused in batch.items]
