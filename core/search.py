"""Neighbours and classes of an image, from one immutable view of a model and the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import datasets, imaging, published
from core.errors import BadImage, BadQuery, ImageNotFound, NoModel
from core.labels import of_images
from core.models import Dataset, Image, Label
from core.open_models import OpenModel, Recent, Rows, Vector
from core.queries import Filter, Query
from core.settings import Settings
from core.shards import read_range
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
class Labels:
    """The labelled rows of a model: row numbers, class numbers, class names."""

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    names: list[str]


@dataclass(frozen=True)
class View:
    """What one request sees: a model, its dataset, and the labels of that moment."""

    model_id: str
    dataset_id: str
    model: OpenModel
    generation: int


class Searcher:
    """Answers queries; one instance serves all threads of a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: Recent[OpenModel] = Recent(_OPEN_MODELS)
        self._labels: Recent[Labels] = Recent(_OPEN_MODELS)
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
        folder = self._settings.root / "models" / model.directory
        opened = self._models.get(model_id, lambda: OpenModel(folder))
        return View(model_id, model.dataset_id, opened, datasets.get(session, model.dataset_id).generation)

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
        """A stored image's unit vector (d,): from the model, or encoded now if the model was not trained on it.

        Raises:
            ImageNotFound: no such image.
        """
        row = view.model.row(image_id)
        if row is not None:
            return np.array(view.model.embeddings[row])
        image = session.get(Image, image_id)
        if image is None:
            raise ImageNotFound(image_id)
        data = read_range(self._settings.root / image.shard, image.offset, image.length)
        return self.vector_of_file(view, data)

    def vector_of_file(self, view: View, data: bytes) -> Vector:
        """An image file's unit vector (d,).

        Raises:
            BadImage: it cannot be decoded.
        """
        try:
            image = imaging.decode(data, self._settings.max_pixels)
        except imaging.ImageError as error:
            raise BadImage(str(error)) from error
        vector: Vector = view.model.encoder([image])[0]
        return vector

    def query(self, session: Session, view: View, query: Query) -> list[Neighbour]:
        """Answer one query, best first.

        Raises:
            ImageNotFound: an image that the query names.
            BadQuery: its vector has another length than the model's, or its examples cancel out.
        """
        allowed = self._allowed(session, view, query.only)
        named = [*query.positive, *query.negative]
        wanted = query.k + query.offset + len(named)
        if query.vector is not None:
            rows, scores = view.model.nearest(_unit(query.vector, view.model.embeddings.shape[1]), wanted, allowed)
        else:
            good = np.stack([self.vector_of(session, view, id_) for id_ in query.positive])
            bad = [self.vector_of(session, view, id_) for id_ in query.negative]
            if query.strategy == "best_score":
                rows, scores = _best_score(view.model, good, np.stack(bad) if bad else None, wanted, allowed)
            else:
                mean = good.mean(axis=0) - (np.stack(bad).mean(axis=0) if bad else 0)
                rows, scores = view.model.nearest(_unit(mean, len(mean)), wanted, allowed)
        found = zip(view.model.ids[rows].tolist(), scores.tolist(), strict=True)
        left = [(id_, score) for id_, score in found if id_ not in named and score >= query.min_score]
        return _described(session, left[query.offset : query.offset + query.k])

    def _allowed(self, session: Session, view: View, only: Filter) -> Rows | None:
        """Rows that pass a filter, ascending; ``None`` for all."""
        if only == Filter():
            return None
        labels = self._labels.get((view.model_id, view.generation), lambda: _labels(session, view))
        keep = np.ones(len(view.model.ids), bool)
        if only.labels is not None or only.unlabelled:
            wanted = [number for number, name in enumerate(labels.names) if name in (only.labels or ())]
            labelled = np.zeros(len(keep), bool)
            labelled[labels.rows[np.isin(labels.classes, wanted)]] = True
            if only.unlabelled:
                unlabelled = np.ones(len(keep), bool)
                unlabelled[labels.rows] = False
                labelled |= unlabelled
            keep &= labelled
        if only.anchor_round is not None:
            keep &= view.model.neighbourhoods["anchor_round"] == only.anchor_round
        if only.min_entropy is not None:
            keep &= view.model.neighbourhoods["entropy"][-1] >= only.min_entropy
        if only.max_entropy is not None:
            keep &= view.model.neighbourhoods["entropy"][-1] <= only.max_entropy
        if only.path_prefix is not None:
            under = select(Image.id).where(Image.dataset_id == view.dataset_id)
            begins = func.substr(Image.path, 1, len(only.path_prefix)) == only.path_prefix  # LIKE ignores case on SQLite
            ids = session.scalars(under.where(begins)).all()
            inside = np.zeros(len(keep), bool)
            inside[view.model.rows_of(np.array(ids, np.int64))] = True
            keep &= inside
        return np.flatnonzero(keep)

    def classify(
        self,
        session: Session,
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
        labels = self._labels.get((view.model_id, view.generation), lambda: _labels(session, view))
        rows, classes = labels.rows, labels.classes
        if leave_out is not None:
            others = view.model.ids[rows] != leave_out
            rows, classes = rows[others], classes[others]
        if not len(rows):
            raise NoModel(f"{view.dataset_id} has no labelled images to vote; upload it with labels=folders")
        sims = view.model.embeddings[rows] @ vector  # (labelled,)
        best = np.argsort(-sims, kind="stable")[: min(k, len(sims))]
        probabilities = vote(sims[best], classes[best], len(labels.names), temperature)
        order = np.argsort(-probabilities, kind="stable")
        confidence = float(probabilities[order[0]])
        voters = [(int(view.model.ids[rows[i]]), float(sims[i])) for i in best]
        return Classification(
            labels.names[order[0]] if confidence >= min_confidence else None,
            confidence,
            [(labels.names[i], float(probabilities[i])) for i in order if probabilities[i] > 0],
            _described(session, voters),
        )

    def voters(self, session: Session, view: View) -> Labels:
        """The labelled rows.

        Raises:
            NoModel: fewer than two images of the dataset have a label.
        """
        labels = self._labels.get((view.model_id, view.generation), lambda: _labels(session, view))
        if len(labels.rows) < 2:
            raise NoModel(f"{view.dataset_id} has fewer than two labelled images; PUT /datasets/{view.dataset_id}/labels")
        return labels

    def leave_one_out(self, session: Session, view: View, k: int, temperature: float) -> LeaveOneOut:
        """How well the labels given so far predict each other under the model; kept until labels or model change.

        Raises:
            NoModel: fewer than two images of the dataset have a label.
        """

        def judge() -> LeaveOneOut:
            labels = self.voters(session, view)
            return leave_one_out(view.model.embeddings, labels.rows, labels.classes, labels.names, k, temperature)

        return self._judged.get((view.model_id, view.generation, k, temperature), judge)


def _unit(vector: Vector, dim: int) -> Vector:
    norm = float(np.linalg.norm(vector))
    if len(vector) != dim:
        raise BadQuery(f"vector: has {len(vector)} numbers; the model's embeddings have {dim}")
    if not np.isfinite(norm) or norm < 1e-6:
        raise BadQuery("the vector, or the examples together, have no direction to search in")
    return np.asarray(vector / norm, dtype=np.float32)


def _best_score(model: OpenModel, good: Vector, bad: Vector | None, count: int, allowed: Rows | None) -> tuple[Rows, Vector]:
    rows = np.arange(len(model.ids)) if allowed is None else allowed
    embeddings = model.embeddings if allowed is None else model.embeddings[allowed]
    scores = (embeddings @ good.T).max(axis=1)
    if bad is not None:
        worst = (embeddings @ bad.T).max(axis=1)
        scores = np.where(scores >= worst, scores, -1 - worst)
    return model.best_of(rows, scores, min(count, len(rows)))


def _labels(session: Session, view: View) -> Labels:
    labelled = select(Label.image_id, Label.label).join(Image, Image.id == Label.image_id)
    found = session.execute(labelled.where(Image.dataset_id == view.dataset_id).order_by(Label.image_id)).all()
    known = [(row, label) for image_id, label in found if (row := view.model.row(image_id)) is not None]
    names = sorted({label for _, label in known})
    numbers = {name: number for number, name in enumerate(names)}
    rows = np.array([row for row, _ in known], dtype=np.int64)
    return Labels(rows, np.array([numbers[label] for _, label in known], dtype=np.int64), names)


def _described(session: Session, found: Sequence[tuple[int, float]]) -> list[Neighbour]:
    """Paths and labels of the images found; one deleted since then is left out."""
    known = of_images(session, [id_ for id_, _ in found])
    return [Neighbour(id_, score, *known[id_]) for id_, score in found if id_ in known]
