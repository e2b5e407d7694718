"""What a query reads: a model, the images added and deleted since it was trained, and the labels, all of one moment."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import BadQuery
from core.search.open_models import OpenModel
from core.search.provenance import Provenance
from core.search.queries import Filter
from core.search.ranking import NONE, Rows, Vector, best, compare, in_order, rounding_error
from core.search.recent import Recent
from core.store.tables import Deletion, Embedding, Image, Label

_FILTERS = 4  # whose rows are kept
LITTLE = 1 << 20  # numbers that are compared in about a fifth of a millisecond
_EVERY = Filter()

Mask = NDArray[np.bool_]


@dataclass
class Neighbour:
    """One answer: ``score`` is the cosine similarity, from -1 to 1."""

    image_id: int
    score: float
    path: str
    label: str | None


@dataclass(frozen=True)
class Labels:
    """Every label of a dataset: image ids (L,) ascending, and the label of each as an index of the sorted ``names``."""

    ids: Rows
    numbers: Rows
    names: list[str]

    @classmethod
    def read(cls, session: Session, dataset_id: str) -> "Labels":
        labels = select(Label.image_id, Label.label).join(Image, Image.id == Label.image_id)
        rows = session.execute(labels.where(Image.dataset_id == dataset_id).order_by(Label.image_id)).all()
        names = sorted({label for _, label in rows})
        number_of = {name: number for number, name in enumerate(names)}
        ids = np.fromiter((id_ for id_, _ in rows), np.int64, len(rows))
        return cls(ids, np.fromiter((number_of[label] for _, label in rows), np.int64, len(rows)), names)


class Snapshot:
    """Immutable. Rows 0 to N - 1 are those of the model's files, rows from N on the images added since.

    Attributes:
        model: the published files.
        ids: image ids (N + M,), those of deleted images among them.
        live: the rows of images that were not deleted, ascending.
        labelled: the live rows that have a label, ascending.
        classes: their classes as indices of ``names``.
        names: the labels there are, sorted.
    """

    def __init__(self, session: Session, model: OpenModel, model_id: str, dataset_id: str, labels: Labels) -> None:
        self.model = model
        self._base = len(model.ids)
        later_images = select(Embedding.image_id, Embedding.vector, Image.path).join(Image, Image.id == Embedding.image_id)
        later_images = later_images.where(Embedding.model_id == model_id, Embedding.image_id > model.last_image)
        added = session.execute(later_images.order_by(Embedding.image_id)).all()
        self._added_ids = np.array([id_ for id_, _, _ in added], np.int64)
        self._added_paths = [path for _, _, path in added]
        dim = model.embeddings.shape[1]
        self._added = np.frombuffer(b"".join(data for _, data, _ in added), "<f4").reshape(-1, dim)
        self.ids: Rows = np.concatenate([model.ids, self._added_ids]) if added else model.ids
        deleted = session.scalars(select(Deletion.image_id).where(Deletion.dataset_id == dataset_id)).all()
        self._dead = model.rows_of(np.array(deleted, np.int64))
        self._gone = frozenset(self._dead.tolist())
        self._passing: Recent[Rows | None] = Recent(_FILTERS)
        self.labelled = self.rows_of(labels.ids)
        numbers = labels.numbers[np.searchsorted(labels.ids, self.ids[self.labelled])]
        used, self.classes = np.unique(numbers, return_inverse=True)  # the last image of a class may have been deleted
        self.names = [labels.names[number] for number in used.tolist()]
        self._class_of = np.full(len(self.ids) if self.names else 0, -1, np.int32)
        if self.names:
            self._class_of[self.labelled] = self.classes

    @cached_property
    def live(self) -> Rows:
        alive = np.ones(len(self.ids), bool)
        alive[self._dead] = False
        return np.flatnonzero(alive)

    def row(self, image_id: int) -> int | None:
        """The row of an image that was not deleted, if the model has embedded it."""
        row = self.model.row(image_id)
        if row is not None:
            return None if row in self._gone else row
        place = int(np.searchsorted(self._added_ids, image_id))
        return self._base + place if place < len(self._added_ids) and self._added_ids[place] == image_id else None

    def rows_of(self, image_ids: Rows) -> Rows:
        """Rows of those of the images that were embedded and not deleted, ascending."""
        base = np.setdiff1d(self.model.rows_of(image_ids), self._dead, assume_unique=True)
        return np.concatenate([base, self._base + np.flatnonzero(np.isin(self._added_ids, image_ids))])

    def vector(self, row: int) -> Vector:
        """Unit vector of a row, (d,)."""
        vector: Vector = self.model.embeddings[row] if row < self._base else self._added[row - self._base]
        return vector

    def vectors(self, rows: Rows) -> Vector:
        """Unit vectors of rows, (len(rows), d)."""
        if not len(self._added):
            return np.asarray(self.model.embeddings[rows])
        result = np.empty((len(rows), self._added.shape[1]), np.float32)
        old = rows < self._base
        result[old], result[~old] = self.model.embeddings[rows[old]], self._added[rows[~old] - self._base]
        return result

    def describe(self, row: int) -> tuple[str, str | None]:
        """Path and label of an image."""
        number = self._class_of.item(row) if self.names else -1
        return self._path(row), self.names[number] if number >= 0 else None

    def _path(self, row: int) -> str:
        return self.model.paths[row] if row < self._base else self._added_paths[row - self._base]

    def class_of(self, rows: Rows) -> NDArray[np.int32]:
        """Classes of rows as indices of ``names``, -1 for no label."""
        return self._class_of[rows] if self.names else np.full(len(rows), -1, np.int32)

    def described(self, rows: Rows, scores: Vector) -> list[Neighbour]:
        """Rows with their similarities as answers, in the same order."""
        labels = [self.names[number] if number >= 0 else None for number in self.class_of(rows).tolist()]
        columns = zip(self.ids[rows].tolist(), scores.tolist(), map(self._path, rows.tolist()), labels, strict=True)
        return [Neighbour(*values) for values in columns]

    def provenance(self, image_id: int) -> Provenance | None:
        """How an image was learned, without neighbours that were deleted since; ``None`` for one that was added later."""
        learned = self.model.provenance(image_id)
        if learned is None:
            return None
        return {**learned, "neighbours": [id_ for id_ in learned["neighbours"] if self.row(id_) is not None]}

    def similarities(self, rows: Rows, queries: Vector) -> Vector:
        """Cosine similarities (len(rows), Q) of ascending rows with unit vectors (Q, d)."""
        old = int(np.searchsorted(rows, self._base))
        of_the_model = self.model.similarities(rows[:old], queries)
        if old == len(rows):
            return of_the_model
        return np.concatenate([of_the_model, self._added[rows[old:] - self._base] @ queries.T])

    def compare(self, rows: Rows, query: Vector) -> Vector:
        """The similarities (len(rows),) of rows with a unit vector (d,) by which answers are ordered."""
        return compare(self.vectors(rows), query)

    def nearest(
        self, vector: Vector, count: int, allowed: Rows | None = None, skip: int = 0, without: Rows = NONE
    ) -> tuple[Rows, Vector]:
        """Rows and similarities of the ``count`` most similar live rows after the first ``skip``, best first, equal ones by
        row. Pages that differ in ``skip`` share no row and together hold all of them, also with an approximate index.

        Args:
            vector: unit vector (d,).
            count: results wanted; fewer only where no more are allowed.
            allowed: ascending live rows to choose from, all by default.
            skip: how many of the best to pass over.
            without: a few rows to leave out, ascending.
        """
        if allowed is None:
            added = np.arange(self._base, len(self.ids))
            old = self.live[: self._base - len(self._dead)] if len(self._dead) else None
        else:
            old, added = np.split(allowed, [np.searchsorted(allowed, self._base)])
        added = np.setdiff1d(added, without, assume_unique=True) if len(added) else added
        if not len(added):
            return self.model.nearest(vector, count, old, skip, without)
        rows, scores = self.model.ranked(vector, count, old, skip, without)
        proposed, most = self._added[added - self._base] @ vector, min(skip + count, len(added))
        added, more = best(added, proposed, most, rounding_error(len(vector)), lambda rows: self.compare(rows, vector))
        places = np.minimum.accumulate(scores)  # what an approximate index found late stays behind
        merged = np.argsort(-np.concatenate([places, more]), kind="stable")[skip : skip + count]
        return in_order(np.concatenate([rows, added])[merged], np.concatenate([scores, more])[merged])

    def neighbours_at_once(self, image_id: int, count: int, skip: int) -> list[Neighbour] | None:
        """The neighbours of a stored image, without itself, after the first ``skip``, where little work tells them: no image was
        added or deleted, and the first look into an index that compares little is enough. Else ``None``."""
        row = self.model.row(image_id)
        if row is None or len(self._dead) or len(self._added_ids) or self.model.compared > LITTLE:
            return None
        found = self.model.first(self.vector(row), count, skip, np.array([row]))
        return found and self.described(found[0][skip:], found[1][skip:])

    def passing(self, only: Filter) -> Rows | None:
        """Live rows that pass a filter, ascending; ``None`` where every one does.

        Raises:
            BadQuery: the filter names a round that the model was not trained for.
        """
        return None if only == _EVERY else self._passing.get(only, None, lambda: self._rows_that_pass(only))

    def _rows_that_pass(self, only: Filter) -> Rows:
        keep = np.zeros(len(self.ids), bool)
        keep[self.live] = True
        if only.labels is not None or only.unlabelled:
            keep &= self._of_labels(only.labels or (), only.unlabelled)
        learned = self.model.neighbourhoods
        if only.anchor_round is not None:
            anchor_round = learned["anchor_round"]
            trained = ~np.isnan(learned["entropy"][-1])
            keep &= self._of_the_model(anchor_round == only.anchor_round if only.anchor_round else (anchor_round < 0) & trained)
        if only.min_entropy is not None or only.max_entropy is not None:
            keep &= self._of_the_model(self._of_entropy(learned["entropy"], only))
        if only.trained_towards is not None:
            keep &= self._of_the_model((learned["neighbours"] == only.trained_towards).any(axis=1))
        if only.path_prefix is not None:
            added = [path.startswith(only.path_prefix) for path in self._added_paths]
            keep &= np.concatenate([self.model.paths.starting_with(only.path_prefix), np.array(added, bool)])
        return np.flatnonzero(keep)

    @staticmethod
    def _of_entropy(entropy: NDArray[np.float32], only: Filter) -> Mask:
        rounds = len(entropy)
        if only.entropy_round is not None and only.entropy_round >= rounds:
            raise BadQuery(f"entropy_round: {only.entropy_round} is not a round of this model, 0 to {rounds - 1}")
        at_end = entropy[-1 if only.entropy_round is None else only.entropy_round]
        low = -np.inf if only.min_entropy is None else only.min_entropy
        high = np.inf if only.max_entropy is None else only.max_entropy
        return np.asarray((at_end >= low) & (at_end <= high))

    def _of_labels(self, labels: tuple[str, ...], unlabelled: bool) -> Mask:
        wanted = [number for number, name in enumerate(self.names) if name in labels]
        chosen = np.full(len(self.ids), unlabelled)
        chosen[self.labelled] = np.isin(self.classes, wanted)
        return chosen

    def _of_the_model(self, mask: Mask) -> Mask:
        """A mask of the model's rows for all rows: what was added later has no provenance to pass by."""
        return np.concatenate([mask, np.zeros(len(self._added_ids), bool)])
