"""Neighbours and classes of an image, from one immutable view of a model and the labels."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import datasets, imaging, index, manifest
from core.encoder import Encoder
from core.errors import BadImage, BadQuery, ImageNotFound, ModelNotFound, NoModel
from core.models import Dataset, Image, Label, Model
from core.settings import Settings
from core.shards import read_range

Vector = NDArray[np.float32]
T = TypeVar("T")
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


class OpenModel:
    """A published model's files, opened once and shared by all requests."""

    def __init__(self, folder: Path) -> None:
        manifest.read(folder)
        self._folder = folder
        self.embeddings: Vector = np.load(folder / "embeddings.npy", mmap_mode="r")
        self.ids: NDArray[np.int64] = np.load(folder / "ids.npy")
        self._by_id = np.argsort(self.ids)
        self.index = index.load(folder / "index.faiss")

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self._folder / "encoder.onnx")

    @cached_property
    def _neighbourhoods(self) -> dict[str, NDArray[np.generic]]:
        with np.load(self._folder / "neighbourhoods.npz") as file:
            return dict(file)

    def provenance(self, image_id: int) -> dict[str, object] | None:
        """How an image was learned: ``entropy`` at the end of each round, ``anchor_round``, ``neighbours`` (image ids)."""
        row = self.row(image_id)
        if row is None:
            return None
        stored = self._neighbourhoods
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
        self._models: _Recent[OpenModel] = _Recent(_OPEN_MODELS)
        self._labels: _Recent[Labels] = _Recent(_OPEN_MODELS)

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
        model = session.get(Model, model_id)
        if model is None:
            raise ModelNotFound(model_id)
        if dataset_id is not None and model.dataset_id != dataset_id:
            raise BadQuery(f"{model_id} is not a model of {dataset_id}")
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

    def neighbours(self, session: Session, view: View, vector: Vector, k: int, leave_out: int | None = None) -> list[Neighbour]:
        """The k most similar images of the model's dataset, best first, without the image ``leave_out``."""
        wanted = min(k + (leave_out is not None), len(view.model.ids))
        scores, rows = view.model.index.search(vector[None], wanted)
        found = [(int(view.model.ids[row]), float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]
        return _described(session, [(id_, score) for id_, score in found if id_ != leave_out][:k])

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
        weights = np.exp((sims[best] - sims[best[0]]) / temperature)
        votes = np.bincount(classes[best], weights, minlength=len(labels.names))
        probabilities = votes / votes.sum()
        order = np.argsort(-probabilities, kind="stable")
        confidence = float(probabilities[order[0]])
        voters = [(int(view.model.ids[rows[i]]), float(sims[i])) for i in best]
        return Classification(
            labels.names[order[0]] if confidence >= min_confidence else None,
            confidence,
            [(labels.names[i], float(probabilities[i])) for i in order if probabilities[i] > 0],
            _described(session, voters),
        )


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
    wanted = select(Image.id, Image.path, Label.label).outerjoin(Label, Label.image_id == Image.id)
    rows = session.execute(wanted.where(Image.id.in_([id_ for id_, _ in found])))
    known = {id_: (path, label) for id_, path, label in rows}
    return [Neighbour(id_, score, *known[id_]) for id_, score in found if id_ in known]


class _Recent(Generic[T]):
    """The most recently used values, made once each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
            return self._values[key]
