"""Published models, opened once and shared by all requests of a process."""

import io
import os
import weakref
from bisect import bisect_right
from functools import cached_property
from operator import neg
from pathlib import Path
from typing import cast

import faiss
import numpy as np

from core.files import manifest
from core.files.texts import Texts
from core.ground.folders import ModelFile
from core.ground.pictures.depths import Depths
from core.search import index
from core.search.encoder import Encoder
from core.search.provenance import Neighbourhoods, Provenance
from core.search.ranking import NONE, Rows, Vector, best, compare, holds, in_order, rounding_error

EXACT_ROWS = 20_000  # allowed rows up to which they are simply all compared
_DEPTHS = (64, 128, 256, 512, 1024)  # results that the index is asked for; beyond, comparing all rows is hardly slower
_MORE = 4  # and how many beyond those wanted, to see where equal ones end
_AT_ODDS = 2  # how many times fewer of the nearest pass a filter than of all rows, where the index is of no help
_DENSE = 3  # rows that are compared for each one wanted, rather than copy those wanted
_BLOCK = 65_536  # rows whose vectors are copied at one time
_LATER = (ModelFile.ENCODER, ModelFile.NEIGHBOURHOODS, ModelFile.PROJECTION)  # read on first use


class OpenModel:
    """A published model's files: embeddings float32 (N, d), image ids and paths (N,), the index, the encoder, the
    neighbourhoods. All stay usable when the folder is deleted.

    Raises:
        DamagedModel: the folder is not there, or does not hold what its manifest says.
    """

    def __init__(self, folder: Path) -> None:
        self.depths: Depths = manifest.read(folder).get("preprocessing", {}).get("depths", {})
        self.folder = folder
        try:
            self.embeddings: Vector = np.asarray(np.load(folder / ModelFile.EMBEDDINGS, mmap_mode="r"))
            self.ids: Rows = np.load(folder / ModelFile.IDS)
            self.index = index.load(folder / ModelFile.INDEX)
            self.paths = Texts.open(folder / ModelFile.PATHS)
            self._later = {name: self._descriptor(folder / name) for name in _LATER}
        except (OSError, RuntimeError) as error:  # faiss raises the latter; compaction deletes what it has replaced
            raise manifest.DamagedModel(f"{folder}: {error}") from error
        self._by_id = np.argsort(self.ids)
        self._measured_depth = index.measured_depth(self.index)
        self._parameters: dict[int, faiss.SearchParameters | None] = {}  # by the depth of a search

    def _descriptor(self, path: Path) -> int:
        """An open file, so that what is read on first use is there even then."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _read(self, name: ModelFile) -> bytes:
        descriptor = self._later[name]
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self._read(ModelFile.ENCODER))

    @cached_property
    def neighbourhoods(self) -> Neighbourhoods:
        with np.load(io.BytesIO(self._read(ModelFile.NEIGHBOURHOODS))) as file:
            return cast(Neighbourhoods, dict(file))

    @cached_property
    def projection(self) -> Vector:
        """Where each image lies on the map, float32 (N, 2)."""
        return np.asarray(np.load(io.BytesIO(self._read(ModelFile.PROJECTION))), np.float32)

    @cached_property
    def compared(self) -> int:
        """How many numbers a search for a few results compares, about."""
        return index.compared(self.index)

    def provenance(self, image_id: int) -> Provenance | None:
        """How an image was learned; ``None`` where the model was not trained on it."""
        row = self.row(image_id)
        stored = self.neighbourhoods
        if row is None or np.isnan(stored["entropy"][-1, row]):  # merged into the index after the training
            return None
        anchor_round = int(stored["anchor_round"][row])
        return {
            "entropy": stored["entropy"][:, row].tolist(),
            "anchor_round": anchor_round if anchor_round >= 0 else None,
            "neighbours": [id_ for id_ in stored["neighbours"][row].tolist() if id_ >= 0],
        }

    def row(self, image_id: int) -> int | None:
        """The row of an image's embedding, if the model was trained on it."""
        place = int(self.ids.searchsorted(image_id, sorter=self._by_id))
        row = int(self._by_id[place]) if place < len(self.ids) else -1
        return row if row >= 0 and self.ids[row] == image_id else None

    def rows_of(self, image_ids: Rows) -> Rows:
        """Rows of those of the images that the model was trained on, in ascending order."""
        if not len(self.ids):
            return np.zeros(0, np.int64)
        places = np.minimum(np.searchsorted(self.ids, image_ids, sorter=self._by_id), len(self.ids) - 1)
        rows = self._by_id[places]
        return np.sort(rows[self.ids[rows] == image_ids])

    @property
    def last_image(self) -> int:
        """The highest image id; images of the dataset beyond it were added later."""
        return int(self.ids[self._by_id[-1]])

    def nearest(
        self, vector: Vector, count: int, allowed: Rows | None = None, skip: int = 0, without: Rows = NONE
    ) -> tuple[Rows, Vector]:
        """Rows and similarities of the ``count`` most similar rows after the first ``skip``, best first.

        Args:
            vector: unit vector (d,).
            count: results wanted; fewer only where no more are allowed.
            allowed: ascending rows to choose from, all by default.
            skip: how many of the best to pass over.
            without: a few rows to leave out, ascending.
        """
        rows, scores = self.ranked(vector, count, allowed, skip, without)
        rows, scores = rows[skip:], scores[skip:]
        return in_order(rows, scores) if (scores[1:] > scores[:-1]).any() else (rows, scores)

    def ranked(
        self, vector: Vector, count: int, allowed: Rows | None = None, skip: int = 0, without: Rows = NONE
    ) -> tuple[Rows, Vector]:
        """The first ``skip + count`` rows with their similarities. The order of all rows does not depend on ``skip``, so each
        row is on exactly one page of results. Arguments as of ``nearest``.

        The order is by similarity, equal ones by row, where all rows are compared. Where the index is approximate, first comes
        what it finds when asked for a page, then what it finds when asked for more, and last all others by comparison.
        """
        if allowed is None and (enough := self.first(vector, count, skip, without)):
            return enough
        wanted, tolerance = skip + count, rounding_error(len(vector))
        depths = self._depths(count + len(without), allowed)

        def exactly(rows: Rows) -> Vector:
            return compare(self.embeddings[rows], vector)

        ordered, scores, placed = NONE, np.zeros(0, np.float32), NONE
        for depth in depths:
            rows, proposed = self._search(vector, depth, depth)
            # Results as near as the last one may have equals that the index left out, so only those before count.
            certain = int(np.count_nonzero(proposed > proposed[-1] + tolerance)) if len(rows) == depth else 0
            if allowed is None:
                certain = min(certain, wanted + len(without))
            rows, exact_scores = best(rows, proposed, certain, tolerance, exactly)
            new = ~holds(without, rows)
            if allowed is not None:
                passed = holds(allowed, rows)
                if _AT_ODDS * np.count_nonzero(passed) * len(self.ids) < len(rows) * len(allowed):
                    break
                new &= passed
            if len(placed):
                new &= ~holds(placed, rows)
            ordered, scores = np.concatenate([ordered, rows[new]]), np.concatenate([scores, exact_scores[new]])
            if len(ordered) >= wanted:
                return ordered[:wanted], scores[:wanted]
            placed = np.sort(np.concatenate([placed, rows]))
        rest = np.arange(len(self.ids)) if allowed is None else allowed
        proposed = self.similarities(rest, vector[None])[:, 0]
        done = np.union1d(placed, without)
        done = np.searchsorted(rest, done[holds(rest, done)])
        proposed[done] = -np.inf
        rows, exact_scores = best(rest, proposed, min(wanted - len(ordered), len(rest) - len(done)), tolerance, exactly)
        return np.concatenate([ordered, rows]), np.concatenate([scores, exact_scores])

    def first(self, vector: Vector, count: int, skip: int = 0, without: Rows = NONE) -> tuple[Rows, Vector] | None:
        """What ``ranked`` gives among all rows, where the first look into the index tells it, which is usual; else ``None``."""
        wanted = skip + count
        needed, depths = wanted + len(without), self._depths(count + len(without), None)
        if not depths or needed >= depths[0]:
            return None
        # Considering depths[0] candidates, but asked for fewer, the index returns the first of the same ones.
        rows, proposed = self._search(vector, min(needed + _MORE, depths[0]), depths[0])
        if len(rows) <= needed:
            return None
        likely, tolerance = proposed.tolist(), rounding_error(len(vector))
        if likely[needed - 1] <= likely[-1] + tolerance:
            return None
        close = bisect_right(likely, tolerance - likely[needed - 1], key=neg)
        rows, scores = in_order(rows[:close], compare(self.embeddings[rows[:close]], vector))
        if len(without):
            others = ~holds(without, rows[:needed])
            rows, scores = rows[:needed][others], scores[:needed][others]
        return rows[:wanted], scores[:wanted]

    def _search(self, vector: Vector, count: int, depth: int) -> tuple[Rows, Vector]:
        if depth not in self._parameters:
            self._parameters[depth] = index.parameters(self.index, depth)
        return index.search(self.index, vector, count, self._parameters[depth])

    def _depths(self, page: int, allowed: Rows | None) -> tuple[int, ...]:
        """How many results the index is asked for, one after the other, before all rows are compared: the same for every page of
        a size, so that pages neither share rows nor miss any."""
        if allowed is not None and len(allowed) <= EXACT_ROWS:
            return ()
        least = self._measured_depth if page <= index.MEASURED else 0
        depths = tuple(depth for depth in (least, *(depth for depth in _DEPTHS if depth > least)) if page < depth < len(self.ids))
        return depths[:1] if isinstance(self.index, faiss.IndexFlat) else depths

    def similarities(self, rows: Rows, queries: Vector) -> Vector:
        """Cosine similarities (len(rows), Q) of ascending rows with unit vectors (Q, d), in the memory of the result; as
        ``ranking.best`` takes them."""
        result = np.empty((len(rows), len(queries)), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            span = self.embeddings[block[0] : block[-1] + 1]
            if len(span) == len(block):
                np.matmul(span, queries.T, out=result[start : start + _BLOCK])
            elif len(span) <= _DENSE * len(block):  # faster than to copy the rows
                result[start : start + _BLOCK] = (span @ queries.T)[block - block[0]]
            else:
                np.matmul(self.embeddings[block], queries.T, out=result[start : start + _BLOCK])
        return result
