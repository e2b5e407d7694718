"""What the service answers with, as typed records."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from anchorhood.transport import JobFailed

if TYPE_CHECKING:
    from anchorhood.client import Client

R = TypeVar("R")
_POLL_SECONDS = 0.5


def record(kind: type[R], data: dict[str, Any], **more: Any) -> R:
    """A record from JSON; what this version of the client does not know is left out."""
    names = {known.name for known in fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in {**data, **more}.items() if name in names}
    times = {name: datetime.fromisoformat(value) for name, value in given.items() if name.endswith("_at") and value}
    return kind(**{**given, **times})


@dataclass(frozen=True)
class Dataset:
    """A collection; ``status`` is ``validating``, ``ready`` or ``failed``, the counts are of files."""

    id: str
    name: str
    status: str
    images: int
    rejected: int
    duplicates: int
    classes: int
    bytes: int
    model_id: str | None
    created_at: datetime
    error: dict[str, str] | None
    client: "Client" = field(repr=False, compare=False)

    def wait(self) -> "Dataset":
        """Wait until it is validated.

        Raises:
            JobFailed: it cannot be used.
        """
        dataset = self
        while dataset.status == "validating":
            time.sleep(_POLL_SECONDS)
            dataset = self.client.datasets.get(self.id)
        if dataset.status == "failed":
            raise JobFailed(self.id, "failed", dataset.error)
        return dataset


@dataclass(frozen=True)
class Event:
    """What happened to a job; ``seq`` counts from 1."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Job:
    """Work that was asked for; ``status`` is ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""

    id: str
    kind: str
    dataset_id: str
    evaluation_dataset_id: str | None
    status: str
    name: str | None
    params: dict[str, Any]
    progress: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    attempt: int
    error: dict[str, str] | None
    model_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    metadata: dict[str, Any]
    client: "Client" = field(repr=False, compare=False)

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    def wait(self, progress: bool = False) -> "Job":
        """Follow the job to its end, with a progress bar if asked.

        Raises:
            JobFailed: it failed or was cancelled.
        """
        job = self.client.jobs.follow(self.id, progress)
        if job.status != "succeeded":
            raise JobFailed(job.id, job.status, job.error)
        return job

    def cancel(self) -> "Job":
        """Ask it to stop."""
        return self.client.jobs.cancel(self.id)

    def events(self) -> Iterator[Event]:
        """What happened so far, in order."""
        return self.client.jobs.events(self.id)


@dataclass(frozen=True)
class Image:
    """One image; ``provenance`` tells how the current model learned it."""

    id: int
    dataset_id: str
    path: str
    label: str | None
    width: int
    height: int
    provenance: dict[str, Any] | None


@dataclass(frozen=True)
class Rejection:
    """A file that is not in its dataset, and why."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class Model:
    """A published model; ``manifest`` only where it was asked for alone."""

    id: str
    dataset_id: str
    job_id: str
    images: int
    dim: int
    created_at: datetime
    manifest: dict[str, Any] | None = None


@dataclass(frozen=True)
class Neighbour:
    """An image that was found; ``score`` is the cosine similarity."""

    image_id: int
    score: float
    path: str
    label: str | None


class Neighbours(Sequence[Neighbour]):
    """What a search found, best first, and the model it was found with."""

    def __init__(self, model_id: str, found: list[Neighbour]) -> None:
        self.model_id, self._found = model_id, found

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        return cls(answer["model_id"], [record(Neighbour, found) for found in answer["neighbours"]])

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        return self._found[index]

    def __repr__(self) -> str:
        return f"Neighbours(model_id={self.model_id!r}, {self._found!r})"


@dataclass(frozen=True)
class ClassProbability:
    label: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """A kNN vote; ``label`` is ``None`` below the confidence asked for, or where ``abstained`` says why none was held."""

    model_id: str
    label: str | None
    confidence: float
    classes: list[ClassProbability]
    abstained: str | None


@dataclass(frozen=True)
class LeaveOneOut:
    """How well the labels predict each other by ``k`` votes: ``confusion[i][j]`` counts images of ``classes[i]`` voted to be
    ``classes[j]``; ``by_k`` has the ``accuracy`` of each ``k`` tried. ``abstained`` says why nothing was judged."""

    model_id: str
    k: int | None
    judged: int
    accuracy: float | None
    classes: list[str]
    confusion: list[list[int]]
    by_k: list[dict[str, float]]
    abstained: str | None


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` float32 (N, d) unit rows, with ``ids`` int64 (N,), ``paths`` and ``labels`` (N,) of text ("": none)."""

    vectors: NDArray[np.float32]
    ids: NDArray[np.int64]
    paths: NDArray[np.str_]
    labels: NDArray[np.str_]


@dataclass(frozen=True)
class AttentionRound:
    """``similarity``: the cosine similarity of image and neighbour at the end of the round."""

    round: int
    similarity: float


@dataclass(frozen=True)
class Attention:
    """The rounds of which a model has maps of an image, and the neighbour whose similarity they are about."""

    model_id: str
    image_id: int
    neighbour_id: int
    rounds: list[AttentionRound]


@dataclass(frozen=True)
class Map:
    """A model's images in two dimensions: ``ids`` int64 (N,), ``places`` float32 (N, 2), ``labels`` (N,) of text ("": none),
    ``entropy`` float32 (rounds, N) in nats (NaN: added since), ``anchor_round`` int64 (N,) (0: never an anchor)."""

    ids: NDArray[np.int64]
    places: NDArray[np.float32]
    labels: NDArray[np.str_]
    entropy: NDArray[np.float32]
    anchor_round: NDArray[np.int64]
