"""Neighbours and classes of an image, from one immutable snapshot."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import datasets, images, imaging, manifest, published
from core.db import Database
from core.errors import BadImage, BadQuery, ImageNotFound, NoModel
from core.models import Dataset, Image, Model
from core.open_models import OpenModel, Recent, Rows, Vector
from core.queries import Query
from core.settings import Settings
from core.snapshots import Snapshot
from core.votes import LeaveOneOut, leave_one_out, vote

_OPEN_MODELS = 8


@dataclass(frozen=True)
class Neighbour:
    """One answer: ``score`` is the cosine similarity, from -1 to 1."""

    image_id: int
    score: float
    path: str
    label: str | None


@dataclass(frozen=True)
class Classification:
    """A weighted kNN vote; ``label`` is ``None`` where its probability is below the minimum asked for."""

    label: str | None
    confidence: float
    classes: list[tuple[str, float]]
    voters: list[Neighbour]


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

    def require_voters(self) -> None:
        """Raises ``NoModel`` where fewer than two images of the dataset have a label."""
        if len(self.snapshot.labelled) < 2:
            raise NoModel(f"{self.dataset_id} has fewer than two labelled images; PUT /datasets/{self.dataset_id}/labels")


class Searcher:
    """Answers queries; one instance serves all threads of a process."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db
        self._models: Recent[OpenModel] = Recent(_OPEN_MODELS)
        self._snapshots: Recent[Snapshot] = Recent(_OPEN_MODELS)
        self._judged: Recent[LeaveOneOut] = Recent(_OPEN_MODELS)

    def view(
        self, session: Session, *, image_id: int | None = None, dataset_id: str | None = None, model_id: str | None = None
    ) -> View:
        """The model to answer from: the one named, else the dataset's current one, else that of the image's dataset, else
        the only one there is.

        Raises:
            DatasetNotFound, ModelNotFound, ImageNotFound: what was named does not exist.
            NoModel: the dataset has no model yet.
            BadQuery: nothing was named and there are several to choose from.
        """
        if model_id is None:
            dataset = datasets.get(session, dataset_id or self._default_dataset(session, image_id))
            if dataset.model_id is None:
                raise NoModel(f"{dataset.id} has no model yet; train one with POST /jobs")
            model_id = dataset.model_id
        model = published.get(session, model_id, dataset_id)
        try:
            opened = self._open(model)
        except manifest.DamagedModel:  # compaction has just put another folder in its place
            with self._db.read() as fresh:
                model = published.get(fresh, model_id)
            opened = self._open(model)
        generation = datasets.get(session, model.dataset_id).generation
        key = model.directory, generation
        snapshot = self._snapshots.get(key, lambda: Snapshot(session, opened, model.id, model.dataset_id))
        return View(model.id, model.dataset_id, generation, snapshot)

    def _open(self, model: Model) -> OpenModel:
        return self._models.get(model.directory, lambda: OpenModel(self._settings.root / "models" / model.directory))

    @staticmethod
    def _default_dataset(session: Session, image_id: int | None) -> str:
        if image_id is not None:
            found = session.scalar(select(Image.dataset_id).where(Image.id == image_id))
            if found is None:
                raise ImageNotFound(image_id)
            return found
        trained = session.scalars(select(Dataset.id).where(Dataset.model_id.is_not(None)).limit(2)).all()
        if len(trained) != 1:
            raise BadQuery(
                f"name a dataset_id or a model_id ({'several datasets have' if trained else 'no dataset has'} a model)"
            )
        return trained[0]

    def vector_of(self, session: Session, view: View, image_id: int) -> Vector:
        """A stored image's unit vector (d,): from the model, or encoded now if it is an image of another dataset.

        Raises:
            ImageNotFound: no such image.
        """
        row = view.snapshot.row(image_id)
        if row is not None:
            found: Vector = view.snapshot.vectors(np.array([row]))[0]
            return found
        image = session.get(Image, image_id)
        if image is None:
            raise ImageNotFound(image_id)
        return self.vector_of_file(view, images.read(self._db, self._settings, image))

    def vector_of_file(self, view: View, data: bytes) -> Vector:
        """An image file's unit vector (d,).

        Raises:
            BadImage: it cannot be decoded.
        """
        try:
            image = imaging.decode(data, self._settings.max_pixels)
        except imaging.ImageError as error:
            raise BadImage(str(error)) from error
        vector: Vector = view.snapshot.model.encoder([image])[0]
        return vector

    def query(self, session: Session, view: View, query: Query) -> list[Neighbour]:
        """Answer one query, best first.

        Raises:
            ImageNotFound: an image that the query names.
            BadQuery: its vector has another length than the model's, or its examples cancel out.
        """
        allowed = view.snapshot.passing(query.only)
        named = [*query.positive, *query.negative]
        wanted = query.k + query.offset + len(named)
        if query.vector is not None:
            rows, scores = view.snapshot.nearest(_unit(query.vector, view.dim), wanted, allowed)
        else:
            good = np.stack([self.vector_of(session, view, id_) for id_ in query.positive])
            bad = [self.vector_of(session, view, id_) for id_ in query.negative]
            if query.strategy == "best_score":
                rows, scores = _best_score(view.snapshot, good, np.stack(bad) if bad else None, wanted, allowed)
            else:
                mean = good.mean(axis=0) - (np.stack(bad).mean(axis=0) if bad else 0)
                rows, scores = view.snapshot.nearest(_unit(mean, len(mean)), wanted, allowed)
        found = _described(view.snapshot, rows, scores)
        left = [neighbour for neighbour in found if neighbour.image_id not in named and neighbour.score >= query.min_score]
        return left[query.offset : query.offset + query.k]

    def classify(
        self,
        view: View,
        vector: Vector,
        k: int,
        temperature: float,
        min_confidence: float,
        leave_out: int | None = None,
    ) -> Classification:
        """kNN vote over the labelled images, exact, weighted by exp(similarity / temperature) (Wu et al. 2018).

        Args:
            k: number of voters; lowered to the number of labelled images.
            leave_out: an image that may not vote, the query itself.

        Raises:
            NoModel: no image of the dataset has a label.
        """
        snapshot = view.snapshot
        rows, classes = snapshot.labelled, snapshot.classes
        if leave_out is not None:
            others = snapshot.ids[rows] != leave_out
            rows, classes = rows[others], classes[others]
        if not len(rows):
            raise NoModel(f"{view.dataset_id} has no labelled images to vote; upload it with labels=folders")
        sims = snapshot.vectors(rows) @ vector  # (labelled,)
        best = np.argsort(-sims, kind="stable")[: min(k, len(sims))]
        probabilities = vote(sims[best], classes[best], len(snapshot.names), temperature)
        order = np.argsort(-probabilities, kind="stable")
        confidence = float(probabilities[order[0]])
        return Classification(
            snapshot.names[order[0]] if confidence >= min_confidence else None,
            confidence,
            [(snapshot.names[i], float(probabilities[i])) for i in order if probabilities[i] > 0],
            _described(snapshot, rows[best], sims[best]),
        )

    def leave_one_out(self, view: View, k: int, temperature: float) -> LeaveOneOut:
        """How well the labels given so far predict each other under the model; kept until anything changes.

        Raises:
            NoModel: fewer than two images of the dataset have a label.
        """
        view.require_voters()
        seen = view.snapshot

        def judge() -> LeaveOneOut:
            return leave_one_out(seen.vectors(seen.labelled), seen.classes, seen.names, k, temperature)

        return self._judged.get((view.model_id, view.generation, k, temperature), judge)


def _unit(vector: Vector, dim: int) -> Vector:
    norm = float(np.linalg.norm(vector))
    if len(vector) != dim:
        raise BadQuery(f"vector: has {len(vector)} numbers; the model's embeddings have {dim}")
    if not np.isfinite(norm) or norm < 1e-6:
        raise BadQuery("the vector, or the examples together, have no direction to search in")
    return np.asarray(vector / norm, dtype=np.float32)


def _best_score(snapshot: Snapshot, good: Vector, bad: Vector | None, count: int, allowed: Rows | None) -> tuple[Rows, Vector]:
    rows = snapshot.live if allowed is None else allowed
    vectors = snapshot.vectors(rows)
    scores = (vectors @ good.T).max(axis=1, initial=-np.inf)
    if bad is not None:
        worst = (vectors @ bad.T).max(axis=1, initial=-np.inf)
        scores = np.where(scores >= worst, scores, -1 - worst)
    return OpenModel.best_of(rows, scores, min(count, len(rows)))


def _described(snapshot: Snapshot, rows: Rows, scores: Vector) -> list[Neighbour]:
    ids = snapshot.ids[rows].tolist()
    return [
        Neighbour(id_, score, *snapshot.describe(row))
        for id_, score, row in zip(ids, scores.tolist(), rows.tolist(), strict=True)
    ]
