"""What the service answers with, as typed records."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar, overload

from anchorhood.errors import JobFailed
from anchorhood.packing import LeftOut
from anchorhood.transport import Transport, path_of

R = TypeVar("R")
_POLL_SECONDS = 0.5


def record(kind: type[R], data: dict[str, Any], **more: Any) -> R:
    """A record from JSON; what this version of the client does not know is left out."""
    names = {attribute.name for attribute in fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in {**data, **more}.items() if name in names}
    times = {name: datetime.fromisoformat(value) for name, value in values.items() if name.endswith(("_at", "_finish")) and value}
    return kind(**{**values, **times})


class Identified(Protocol):
    """A record of something that has an id."""

    @property
    def id(self) -> str: ...


@overload
def id_of(thing: Identified | str) -> str: ...
@overload
def id_of(thing: Identified | str | None) -> str | None: ...
def id_of(thing: Identified | str | None) -> str | None:
    """The id of a record, or an id as it is."""
    return thing if thing is None or isinstance(thing, str) else thing.id


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
    transport: Transport = field(repr=False, compare=False)
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
            answer = self.transport.json("GET", path_of("datasets", self.id))
            dataset = record(Dataset, answer, transport=self.transport)
        if dataset.status == "failed":
            raise JobFailed(self.id, "failed", dataset.error)
        return replace(dataset, left_out=self.left_out)


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

    def __init__(self, model_id: str, neighbours: list[Neighbour]) -> None:
        self.model_id, self._neighbours = model_id, neighbours

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        return cls(answer["model_id"], [record(Neighbour, neighbour) for neighbour in answer["neighbours"]])

    def __len__(self) -> int:
        return len(self._neighbours)

    def __getitem__(self, index: Any) -> Any:
        return self._neighbours[index]

    def __repr__(self) -> str:
        return f"Neighbours(model_id={self.model_id!r}, {self._neighbours!r})"


@dataclass(frozen=True)
class AuditLine:
    """Who did what: ``objects`` are ids, ``status`` how the request was answered, ``None`` for a command of the operator."""

    id: int
    created_at: datetime
    key_id: str | None
    session: str | None
    address: str | None
    request_id: str | None
    action: str
    objects: list[str]
    status: int | None


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
    """How well the labels predict each other by ``k`` votes. ``classes`` has the ``label``, ``judged`` and ``right`` images of
    each, ``confusions`` the ``label``, the one ``voted`` and the ``count`` of images, the largest first: of both as many as were
    asked for, of ``class_count`` and ``confusion_count``. ``by_k`` has the ``accuracy`` of each ``k`` tried. ``abstained`` says
    why nothing was judged."""

    model_id: str
    k: int | None
    judged: int
    accuracy: float | None
    class_count: int
    classes: list[dict[str, Any]]
    confusion_count: int
    confusions: list[dict[str, Any]]
    by_k: list[dict[str, float]]
    abstained: str | None
