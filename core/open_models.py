"""Published models, opened once and shared by all requests of a process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from core import index, manifest
from core.encoder import Encoder
from core.texts import PATHS, Texts

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]
T = TypeVar("T")
EXACT_ROWS = 20_000  # allowed rows up to which they are simply all compared


class OpenModel:
    """A published model's files: embeddings float32 (N, d), image ids and paths (N,), the index, the encoder, the
    neighbourhoods."""

    def __init__(self, folder: Path) -> None:
        manifest.read(folder)
        self.folder = folder
        self.embeddings: Vector = np.asarray(np.load(folder / "embeddings.npy", mmap_mode="r"))
        self.ids: Rows = np.load(folder / "ids.npy")
        self._by_id = np.argsort(self.ids)
        self.index = index.load(folder / "index.faiss")
        self.paths = Texts.open(folder / PATHS)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.folder / "encoder.onnx")

    @cached_property
    def neighbourhoods(self) -> dict[str, NDArray[np.generic]]:
        """``entropy`` float32 (R, N), ``anchor_round`` int64 (N,), ``neighbours`` int64 (N, k)."""
        with np.load(self.folder / "neighbourhoods.npz") as file:
            return dict(file)

    def provenance(self, image_id: int) -> dict[str, object] | None:
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
        rows are allowed or the index finds too few of them (a graph search among few allowed nodes does).

        Args:
            vector: unit vector (d,).
            count: results wanted; fewer only where no more are allowed.
            allowed: ascending rows to choose from, all by default.
        """
        if allowed is None:
            scores, rows = self.index.search(vector[None], min(count, len(self.ids)))
            found = len(self.ids) if rows[0, -1] >= 0 else int((rows[0] >= 0).sum())  # what is missing is at the end
            return rows[0, :found], scores[0, :found]
        count = min(count, len(allowed))
        if len(allowed) > EXACT_ROWS:
            rows, scores = index.search_among(self.index, vector, count, allowed, len(self.ids))
            if len(rows) == count:
                return rows, scores
        return self.best_of(allowed, self.embeddings[allowed] @ vector, count)

    @staticmethod
    def best_of(rows: Rows, scores: Vector, count: int) -> tuple[Rows, Vector]:
        """The ``count`` best of given rows by their scores, best first, ties by row."""
        if count < len(rows):
            some = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, np.int64)
            rows, scores = rows[some], scores[some]
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]


class _Slot(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: list[T] = []


class Recent(Generic[T]):
    """The most recently used values, made once each; making one does not keep others waiting."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: OrderedDict[Hashable, _Slot[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        if not slot.values:
            with slot.lock:
                if not slot.values:
                    slot.values.append(make())
        return slot.values[0]
