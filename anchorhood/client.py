"""``Client``: one service, spoken to over HTTP."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anchorhood.arrays import Embeddings
from anchorhood.datasets import Datasets, id_of
from anchorhood.jobs import Jobs
from anchorhood.models import Models
from anchorhood.records import Classification, ClassProbability, Dataset, Image, Neighbours, record
from anchorhood.transport import Transport, at
from anchorhood.values import is_number, sendable, vector, whole, wholes

Query = int | np.integer | str | os.PathLike[str] | bytes | NDArray[np.floating] | Sequence[float]


class Client:
    """The service at ``url``; ``key`` where it asks for one. Usable as a context manager.

    GET, PUT, DELETE and searches are tried up to four times where the service does not answer or says 503; so is
    ``jobs.create``, with an idempotency key, so that it makes one job. Uploads are sent once.

    Numbers and arrays may be NumPy's, or of any library whose values have ``tolist``. Of the proxies that the environment
    names none is asked for a service on this machine.

    Raises:
        ValueError: a URL, a key or a proxy that cannot be used; from methods, a value that cannot be sent.
        ApiError: from every method, where the service refuses.
        Unreachable: from every method, where it does not answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        self.transport = Transport(url, key)
        self.datasets = Datasets(self)
        self.jobs = Jobs(self)
        self.models = Models(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.http.close()

    def image(self, image_id: int) -> Image:
        """A stored image's path, label, size, and how the current model learned it."""
        return record(Image, self.transport.json("GET", at("images", whole(image_id, "image_id"))))

    def image_file(self, image_id: int) -> bytes:
        """The bytes of a stored image, as they were uploaded."""
        return self.transport.send("GET", at("images", whole(image_id, "image_id"), "file"), again=True).content

    def delete_image(self, image_id: int) -> None:
        """Delete an image: out of every answer at once."""
        self.transport.json("DELETE", at("images", whole(image_id, "image_id")))

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
            body = {"positive": wholes(positive, "positive"), "negative": wholes(negative, "negative"), "k": k, **where}
            return self._ask("/neighbours", json=body)
        if is_number(image):
            asked = {"image_id": whole(image, "image"), "k": k, **where}
            return Neighbours.of(self.transport.json("GET", "/neighbours", params=asked))
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
        asked = _present(**how, dataset_id=id_of(dataset), model_id=model)
        if not _is_file(image):
            answer = self.transport.json("GET", "/classify", params={"image_id": whole(image, "image"), **asked})
        else:
            answer = self.transport.json("POST", "/classify", again=True, data=asked, files={"file": _file(image)})
        classes = [record(ClassProbability, found) for found in answer.pop("classes")]
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
