"""Published models, opened once and shared by all requests of a process."""

import io
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from core import index, manifest
from core.depths import Depths
from core.encoder import Encoder
from core.texts import PATHS, Texts

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]
T = TypeVar("T")
EXACT_ROWS = 20_000  # allowed rows up to which they are simply all compared
_SPARE = 2  # how many times as many allowed results as wanted the index is asked for
_DEEPEST = 2000  # results up to which the index is faster than comparing all allowed rows
_BLOCK = 65_536  # rows whose vectors are copied at one time
_ENCODER, _NEIGHBOURHOODS, _PROJECTION = "encoder.onnx", "neighbourhoods.npz", "projection.npy"


class OpenModel:
    """A published model's files: embeddings float32 (N, d), image ids and paths (N,), the index, the encoder, the
    neighbourhoods. They stay usable when the folder is deleted.

    Raises:
        DamagedModel: the folder is not there, or does not hold what its manifest says.
    """

    def __init__(self, folder: Path) -> None:
        self.depths: Depths = manifest.read(folder).get("preprocessing", {}).get("depths", {})
        self.folder = folder
        try:
            self.embeddings: Vector = np.asarray(np.load(folder / "embeddings.npy", mmap_mode="r"))
            self.ids: Rows = np.load(folder / "ids.npy")
            self.index = index.load(folder / "index.faiss")
            self.paths = Texts.open(folder / PATHS)
            self._later = {name: self._descriptor(folder / name) for name in (_ENCODER, _NEIGHBOURHOODS, _PROJECTION)}
        except (OSError, RuntimeError) as error:  # faiss raises the latter; compaction deletes what it has replaced
            raise manifest.DamagedModel(f"{folder}: {error}") from error
        self._by_id = np.argsort(self.ids)

    def _descriptor(self, path: Path) -> int:
        """An open file, so that what is read on first use is there even then."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _read(self, name: str) -> bytes:
        descriptor = self._later[name]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self._read(_ENCODER))

    @cached_property
    def neighbourhoods(self) -> dict[str, NDArray[Any]]:
        """``entropy`` float32 (R, N), ``anchor_round`` int64 (N,), ``neighbours`` int64 (N, k)."""
        with np.load(io.BytesIO(self._read(_NEIGHBOURHOODS))) as file:
            return dict(file)

    @cached_property
    def projection(self) -> Vector:
        """Where each image lies on the map, float32 (N, 2)."""
        return np.asarray(np.load(io.BytesIO(self._read(_PROJECTION))), np.float32)

    def provenance(self, image_id: int) -> dict[str, Any] | None:
        """How an image was learned: ``entropy`` at the end of each round, ``anchor_round``, ``neighbours`` (image ids)."""
        row = self.row(image_id)
        stored = self.neighbourhoods
        if row is None or np.isnan(stored["entropy"][-1, row]):  # merged into the index after the training
            return None
        became = int(stored["anchor_round"][row])
        return {
            "entropy": stored["entropy"][:, row].tolist(),
            "anchor_round": became if became >= 0 else None,
            "neighbours": [id_ for id_ in stored["neighbours"][row].tolist() if id_ >= 0],
        }

    def row(self, image_id: int) -> int | None:
        """The row of an image's embedding, if the model was trained on it."""
        at = int(np.searchsorted(self.ids, image_id, sorter=self._by_id))
        row = int(self._by_id[at]) if at < len(self.ids) else -1
        return row if row >= 0 and self.ids[row] == image_id else None

    def rows_of(self, image_ids: Rows) -> Rows:
        """Rows of those of the images that the model was trained on, in ascending order."""
        if not len(self.ids):
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self.ids, image_ids, sorter=self._by_id), len(self.ids) - 1)
        rows = self._by_id[at]
        return np.sort(rows[self.ids[rows] == image_ids])

    @property
    def last_image(self) -> int:
        """The highest image id; images of the dataset beyond it were added later."""
        return int(self.ids[self._by_id[-1]])

    def nearest(self, vector: Vector, count: int, allowed: Rows | None = None) -> tuple[Rows, Vector]:
        """Rows and similarities of the ``count`` most similar rows, best first: through the index, and exactly where few
        rows are allowed or the index finds too few of them (those near the query may all be excluded).

        Args:
            vector: unit vector (d,).
            count: results wanted; fewer only where no more are allowed.
            allowed: ascending rows to choose from, all by default.
        """
        total = len(self.ids)
        count = min(count, total if allowed is None else len(allowed))
        if allowed is None:
            rows, scores = index.search(self.index, vector, count)
            if len(rows) == count:
                return rows, scores
            allowed = np.arange(total)
        elif len(allowed) > EXACT_ROWS and (deep := _SPARE * count * total // len(allowed)) <= _DEEPEST:
            rows, scores = index.search(self.index, vector, deep)
            passed = holds(allowed, rows)
            if passed.sum() >= count:  # all better ones are excluded, so these are the best
                return rows[passed][:count], scores[passed][:count]
        return self.best_of(allowed, self.similarities(allowed, vector[None])[:, 0], count)

    def similarities(self, rows: Rows, queries: Vector) -> Vector:
        """Cosine similarities (len(rows), Q) of ascending rows with unit vectors (Q, d), in the memory of the result."""
        result = np.empty((len(rows), len(queries)), np.float32)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            whole = some[-1] - some[0] + 1 == len(some)  # a range of rows need not be copied
            vectors = self.embeddings[some[0] : some[-1] + 1] if whole else self.embeddings[some]
            np.matmul(vectors, queries.T, out=result[start : start + _BLOCK])
        return result

    @staticmethod
    def best_of(rows: Rows, scores: Vector, count: int) -> tuple[Rows, Vector]:
        """The ``count`` best of given rows by their scores, best first, ties by row."""
        if count < len(rows):
            some = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, np.int64)
            rows, scores = rows[some], scores[some]
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]


def holds(ascending: Rows, values: Rows) -> NDArray[np.bool_]:
    """Which of the values are among ascending ones, (len(values),)."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[at] == values
    return found


class _Slot(Generic[T]):
    def __init__(self, version: Hashable) -> None:
        self.version = version
        self.lock = threading.Lock()
        self.values: list[T] = []


class Recent(Generic[T]):
    """The most recently used values, each of them in its newest version and made once; making one does not keep those who
    ask for others waiting."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: OrderedDict[Hashable, _Slot[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.version != version:
                slot = self._slots[key] = _Slot(version)
            self._slots.move_to_end(key)
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        if not slot.values:
            with slot.lock:
                if not slot.values:
                    slot.values.append(make())
        return slot.values[0]

    def drop(self, useless: Callable[[T], bool]) -> None:
        """Let go of the values of which that is true."""
        with self._lock:
            for key in [key for key, slot in self._slots.items() if slot.values and useless(slot.values[0])]:
                del self._slots[key]
