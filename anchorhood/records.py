"""What the service answers with, as typed records."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anchorhood.packing import LeftOut
from anchorhood.transport import JobFailed

if TYPE_CHECKING:
    from anchorhood.client import Client

R = TypeVar("R")
_POLL_SECONDS = 0.5


def record(kind: type[R], data: dict[str, Any], **more: Any) -> R:
    """A record from JSON; what this version of the client does not know is left out."""
    names = {known.name for known in fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in {**data, **more}.items() if name in names}
    times = {name: datetime.fromisoformat(value) for name, value in given.items() if name.endswith(("_at", "_finish")) and value}
    return kind(**{**given, **times})


@dataclass(frozen=True)
class Dataset:
    """A collection; ``status`` is ``validating``, ``ready`` or ``failed``, the counts are of files. ``notices`` (``code``,
    ``message``, ``count``) tell what validation did though it refused nothing, ``left_out`` what an upload could not take."""

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
    metadata: dict[str, Any] = field(default_factory=dict)
    notices: list[dict[str, Any]] = field(default_factory=list)
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)

    def wait(self) -> "Dataset":
        """Wait until it is validated. What an upload left out of a folder stays with it.

        Raises:
            JobFailed: it cannot be used.
        """
        dataset = self
        while dataset.status == "validating":
            time.sleep(_POLL_SECONDS)
            dataset = self.client.datasets.get(self.id)
        if dataset.status == "failed":
            raise JobFailed(self.id, "failed", dataset.error)
        return replace(dataset, left_out=self.left_out)


@dataclass(frozen=True)
class Event:
    """What happened to a job; ``seq`` counts from 1."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Job:
    """Work that was asked for; ``status`` is ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``.

    ``verdict`` says in a sentence what the ``evaluation`` found; ``continues`` is the job that this one goes on from, and
    ``continuation`` how this one can be continued: ``resume``, ``more_rounds`` or ``None``.
    """

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
    verdict: dict[str, Any] | None = None
    estimated_finish: datetime | None = None
    continues: str | None = None
    continuation: str | None = None
    left_out: tuple[LeftOut, ...] = field(default=(), compare=False)

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
        return replace(job, left_out=self.left_out)

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
    job_id: str | None = None


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
    """A kNN vote; ``label`` is ``None`` below the confidence asked for, and where the vote abstained, which says why."""

    model_id: str
    label: str | None
    confidence: float
    classes: list[ClassProbability]
    abstained: str | None = None


@dataclass(frozen=True)
class LeaveOneOut:
    """How well the labels predict each other: ``confusion[i][j]`` counts images of ``classes[i]`` voted to be ``classes[j]``.

    Where ``k`` was to be chosen, ``by_k`` tells the accuracy of each; ``abstained`` says why there is no vote.
    """

    model_id: str
    k: int | None
    judged: int
    accuracy: float | None
    classes: list[str]
    confusion: list[list[int]]
    by_k: list[dict[str, Any]] = field(default_factory=list)
    abstained: str | None = None
