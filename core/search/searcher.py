"""Neighbours and classes of an image, from one immutable snapshot."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from core.collections import images, published
from core.errors import BadQuery, DatasetNotFound, DomainError, ImageNotFound, ModelNotFound, NoModel
from core.files import manifest
from core.ground.waiting import go_on
from core.search.examples import best_score, unit
from core.search.open_models import OpenModel
from core.search.queries import Query
from core.search.ranking import Rows, Vector
from core.search.recent import Recent
from core.search.snapshots import Labels, Neighbour, Snapshot
from core.search.votes import LeaveOneOut, leave_one_out
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Dataset, Image, Model
from core.untrusted.decoding import Decoders

WAITING = 12  # requests that may wait for a decoder; each holds one of a process's 40 threads
_OPEN_MODELS = 8
_RELEASE_SECONDS = 60.0  # after which deleted models are let go of, and so their space on the disk
_TRIES = 3  # at a folder that compaction may replace at any moment

# A model with its dataset, and the dataset's generation, on which its answers depend, in one statement.
_DATASET_AND_MODEL = select(Dataset.id, Dataset.generation, Model.id.label("model_id"), Model.directory).select_from(Dataset)
_CURRENT = _DATASET_AND_MODEL.outerjoin(Model, Model.id == Dataset.model_id)
_BY_MODEL = _DATASET_AND_MODEL.join(Model, Model.dataset_id == Dataset.id).where(Model.id == bindparam("id"))
_BY_DATASET = _CURRENT.where(Dataset.id == bindparam("id"))
_BY_IMAGE = _CURRENT.join(Image, Image.dataset_id == Dataset.id).where(Image.id == bindparam("id"))
_TRAINED = _CURRENT.where(Dataset.model_id.is_not(None)).limit(2)


@dataclass(frozen=True)
class View:
    """What one request answers from."""

    model_id: str
    dataset_id: str
    generation: int
    snapshot: Snapshot

    @property
    def dim(self) -> int:
        return int(self.snapshot.model.embeddings.shape[1])


class _Chosen(NamedTuple):
    model_id: str
    dataset_id: str
    generation: int
    directory: str

    @property
    def version(self) -> tuple[str, int]:
        """What a snapshot depends on."""
        return self.directory, self.generation


class Searcher:
    """Answers queries; one instance serves all threads of a process.

    Attributes:
        decoders: for posted images and large pictures; to be closed with this.

    Args:
        on_encoded: called with the seconds that decoding and encoding a query's image took.
    """

    def __init__(self, settings: Settings, db: Database, on_encoded: Callable[[float], None] = lambda _: None) -> None:
        self._settings, self._db, self._on_encoded = settings, db, on_encoded
        self._models: Recent[OpenModel] = Recent(_OPEN_MODELS)
        self._snapshots: Recent[Snapshot] = Recent(_OPEN_MODELS)
        self._labels: Recent[Labels] = Recent(_OPEN_MODELS)
        self._judged: Recent[LeaveOneOut] = Recent(_OPEN_MODELS)
        self._released = time.monotonic()
        self.decoders = Decoders(settings, waiting=WAITING)

    def view(self, *, image_id: int | None = None, dataset_id: str | None = None, model_id: str | None = None) -> View:
        """The model to answer from: the one named, else the dataset's current one, else that of the image's dataset, else
        the only one there is.

        Raises:
            DatasetNotFound, ModelNotFound, ImageNotFound: what was named does not exist.
            NoModel: the dataset has no model yet.
            BadQuery: nothing was named and there are several to choose from.
        """
        chosen = self._chosen(image_id, dataset_id, model_id)
        snapshot = self._snapshots.get(
            chosen.model_id, chosen.version, lambda: self._snapshot(chosen.model_id, chosen.dataset_id)
        )
        if time.monotonic() - self._released > _RELEASE_SECONDS:
            self.release()
        return View(chosen.model_id, chosen.dataset_id, chosen.generation, snapshot)

    def _chosen(self, image_id: int | None, dataset_id: str | None, model_id: str | None) -> "_Chosen":
        look_up = self._db.look_up
        if model_id is not None:
            rows = look_up(_BY_MODEL, id=model_id)
        elif dataset_id is not None:
            rows = look_up(_BY_DATASET, id=dataset_id)
        elif image_id is not None:
            rows = look_up(_BY_IMAGE, id=image_id)
        else:
            rows = look_up(_TRAINED)
        if model_id is not None and not rows:
            raise ModelNotFound(model_id)
        if dataset_id is not None and not rows:
            raise DatasetNotFound(dataset_id)
        if dataset_id is not None and rows[0][0] != dataset_id:
            raise BadQuery(f"{model_id} is not a model of {dataset_id}")
        if image_id is not None and not rows:
            raise ImageNotFound(image_id)
        if len(rows) != 1:
            raise BadQuery(f"name a dataset_id or a model_id ({'several datasets have' if rows else 'no dataset has'} a model)")
        ((owner, generation, chosen_id, directory),) = rows
        if chosen_id is None:
            raise NoModel(f"{owner} has no model yet; train one with POST /jobs")
        return _Chosen(chosen_id, owner, generation, directory)

    def view_at_once(self, image_id: int, dataset_id: str | None, model_id: str | None) -> View | None:
        """What ``view`` gives, without waiting for anything but the look-up; ``None`` where the model is not open, or where
        ``view`` would raise an error."""
        try:
            chosen = self._chosen(image_id, dataset_id, model_id)
        except DomainError:
            return None
        snapshot = self._snapshots.known(chosen.model_id, chosen.version)
        if snapshot is None or time.monotonic() - self._released > _RELEASE_SECONDS:
            return None
        return View(chosen.model_id, chosen.dataset_id, chosen.generation, snapshot)

    def _snapshot(self, model_id: str, dataset_id: str, tries: int = _TRIES) -> Snapshot:
        with self._db.read() as session:  # one moment: the folder, what was added to it, deletions and labels
            directory = published.get(session, model_id).directory
            try:
                model = self._models.get(model_id, directory, lambda: OpenModel(self._settings.layout.model(directory)))
                return Snapshot(session, model, model_id, dataset_id, self._labels_of(session, dataset_id))
            except manifest.DamagedModel:  # compaction may just have put another folder in its place
                if tries == 1:
                    raise
        return self._snapshot(model_id, dataset_id, tries - 1)

    def _labels_of(self, session: Session, dataset_id: str) -> Labels:
        version = session.scalar(select(Dataset.label_generation).where(Dataset.id == dataset_id))
        return self._labels.get(dataset_id, version, lambda: Labels.read(session, dataset_id))

    def release(self) -> None:
        """Close models whose folder was deleted; until then their space on the disk is not free."""
        self._released = time.monotonic()
        self._snapshots.drop(lambda snapshot: not snapshot.model.folder.exists())
        self._models.drop(lambda model: not model.folder.exists())

    def vector_of(self, view: View, image_id: int) -> Vector:
        """A stored image's unit vector (d,): from the model, or encoded now if it is an image of another dataset.

        Raises:
            ImageNotFound: no such image.
        """
        row = view.snapshot.row(image_id)
        if row is not None:
            return view.snapshot.vector(row)
        go_on()
        image = images.find(self._db, image_id)
        largest = max(self._settings.max_pixels, image.width * image.height)  # it was taken in when that was allowed
        with images.open_file(self._db, self._settings, image) as file:
            return self._encoded(view, file, largest)

    def vector_of_file(self, view: View, file: BinaryIO) -> Vector:
        """An image file's unit vector (d,).

        Raises:
            BadImage: it cannot be decoded.
        """
        return self._encoded(view, file, self._settings.max_pixels)

    def _encoded(self, view: View, file: BinaryIO, max_pixels: int) -> Vector:
        began, encoder = time.perf_counter(), view.snapshot.model.encoder
        vector = encoder.embed_one(self.decoders.pixels(file, encoder.size, max_pixels, view.snapshot.model.depths))
        self._on_encoded(time.perf_counter() - began)
        return vector

    def query(self, view: View, query: Query) -> list[Neighbour]:
        """Answer one query, best first.

        Raises:
            ImageNotFound: an image that the query names.
            BadQuery: its vector has another length than the model's, or its examples cancel out.
        """
        go_on()
        snapshot, named = view.snapshot, query.positive + query.negative
        allowed = snapshot.passing(query.only)
        example_rows = np.array(sorted({row for id_ in named if (row := snapshot.row(id_)) is not None}), np.int64)
        if query.vector is not None:
            vector = unit(query.vector, view.dim)
        elif len(named) == 1:
            vector = snapshot.vector(example_rows.item()) if len(example_rows) else self.vector_of(view, named[0])
        else:
            good = np.stack([self.vector_of(view, id_) for id_ in query.positive])
            bad = np.stack([self.vector_of(view, id_) for id_ in query.negative]) if query.negative else None
            if query.strategy == "best_score":
                rows = np.setdiff1d(snapshot.live if allowed is None else allowed, example_rows, assume_unique=True)
                rows, scores = best_score(snapshot, good, bad, query.offset + query.k, rows)
                return self._answer(snapshot, query, rows[query.offset :], scores[query.offset :])
            vector = unit(good.mean(axis=0) - (0 if bad is None else bad.mean(axis=0)), view.dim)
        return self._answer(snapshot, query, *snapshot.nearest(vector, query.k, allowed, query.offset, example_rows))

    @staticmethod
    def _answer(snapshot: Snapshot, query: Query, rows: Rows, scores: Vector) -> list[Neighbour]:
        if query.min_score > -2:
            enough = scores.astype(np.float64) >= query.min_score
            rows, scores = rows[enough], scores[enough]
        return snapshot.described(rows, scores)

    def leave_one_out(self, view: View, k: int | None, temperature: float, min_labels: int) -> LeaveOneOut:
        """How well the labels given so far predict each other under the model; kept until anything changes. Arguments as of
        ``votes.leave_one_out``."""
        snapshot = view.snapshot

        def judge() -> LeaveOneOut:
            return leave_one_out(
                snapshot.vectors(snapshot.labelled), snapshot.classes, snapshot.names, k, temperature, min_labels
            )

        return self._judged.get((view.model_id, k, temperature, min_labels), view.generation, judge)
