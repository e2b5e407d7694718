"""Neighbours, classes and embeddings."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anchorhood.arrays import Embeddings
from anchorhood.models import Models
from anchorhood.records import Classification, ClassProbability, Dataset, Neighbours, id_of, record
from anchorhood.transport import Transport
from anchorhood.values import as_int, as_ints, is_number, sendable, vector

Query = int | np.integer | str | os.PathLike[str] | bytes | NDArray[np.floating] | Sequence[float]


class Search:
    """What a service finds with its models."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.models = Models(transport)

    def neighbours(
        self,
        image: Query | None = None,
        k: int = 10,
        *,
        dataset: Dataset | str | None = None,
        model: str | None = None,
        positive: Sequence[int] | None = None,
        negative: Sequence[int] = (),
        **filters: Any,
    ) -> Neighbours:
        """The most similar images, best first.

        Args:
            image: a stored image's id, an image file's path or bytes, or a vector (d,) of the model's space.
            k: how many, up to 1,000.
            dataset: where to search; by default the image's own dataset, or the only model there is.
            model: another model than the dataset's current one.
            positive: ids of good examples, instead of ``image``.
            negative: ids of bad examples.
            filters: ``offset``, ``min_score``, ``label``, ``unlabelled``, ``anchor_round``, ``min_entropy``,
                ``max_entropy``, ``entropy_round``, ``trained_towards``, ``path_prefix``.
        """
        where = _present(dataset_id=id_of(dataset), model_id=model, **filters)
        if (image is None) == (positive is None):
            raise ValueError("give exactly one of image and positive")
        if positive is not None:
            body = {"positive": as_ints(positive, "positive"), "negative": as_ints(negative, "negative"), "k": k, **where}
            return self._ask("/neighbours", json=body)
        if is_number(image):
            request = {"image_id": as_int(image, "image"), "k": k, **where}
            return Neighbours.of(self.transport.json("GET", "/neighbours", params=request))
        if _is_file(image):
            return self._ask("/neighbours", data={"k": k, **where}, files={"file": _file(image)})
        return self._ask("/neighbours", json={"vector": vector(image), "k": k, **where})

    def classify(
        self,
        image: int | np.integer | str | os.PathLike[str] | bytes,
        *,
        k: int = 200,
        temperature: float = 0.1,
        min_confidence: float = 0.0,
        min_labels: int = 3,
        dataset: Dataset | str | None = None,
        model: str | None = None,
    ) -> Classification:
        """The class of a stored image (by id) or an image file (path or bytes), by a kNN vote of the labelled images. It
        abstains unless two classes have ``min_labels`` labelled images each."""
        how = {"k": k, "temperature": temperature, "min_confidence": min_confidence, "min_labels": min_labels}
        request = _present(**how, dataset_id=id_of(dataset), model_id=model)
        if not _is_file(image):
            answer = self.transport.json("GET", "/classify", params={"image_id": as_int(image, "image"), **request})
        else:
            answer = self.transport.json("POST", "/classify", again=True, data=request, files={"file": _file(image)})
        classes = [record(ClassProbability, probability) for probability in answer.pop("classes")]
        return record(Classification, answer, classes=classes)

    def embeddings(self, dataset: Dataset | str | None = None, *, model: str | None = None) -> Embeddings:
        """All embeddings of a dataset's current model, or of a model, with their images' ids, paths and labels."""
        with tempfile.TemporaryFile() as file:
            self.models.export(self.models.current(dataset) if model is None else model, file)
            file.seek(0)
            with np.load(file) as arrays:
                return Embeddings(arrays["embeddings"], arrays["ids"], arrays["paths"], arrays["labels"])

    def _ask(self, path: str, **request: Any) -> Neighbours:
        return Neighbours.of(self.transport.json("POST", path, again=True, **request))


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _file(image: Any) -> tuple[str, bytes]:
    """Read whole, so that a question can be asked again."""
    if not isinstance(image, str | os.PathLike):
        return "image", bytes(image)
    path = Path(os.fsdecode(image))
    return sendable(path.name), path.read_bytes()


def _is_file(image: Any) -> bool:
    return isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
