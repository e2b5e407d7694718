"""``Job`` and ``client.jobs``."""

import csv
import io
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import httpx

from anchorhood.errors import JobFailed, Unreachable
from anchorhood.packing import LeftOut
from anchorhood.progress import Progress
from anchorhood.records import Dataset, id_of, record
from anchorhood.transport import Transport, path_of

_FORMULA = re.compile(
    "^'('*[=+\\-@\\t\\r\\n\uff0b\uff0d\uff1d\uff20])"
)  # the service puts an apostrophe before one (docs/api.md)
_RECONNECT_SECONDS, _GIVE_UP_SECONDS = 1.0, 120.0
_LOOK_SECONDS = 0.5  # between two looks at where a job stands


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
    transport: Transport = field(repr=False, compare=False)
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
        job = Jobs(self.transport).follow(self.id, progress)
        if job.status != "succeeded":
            raise JobFailed(job.id, job.status, job.error)
        return replace(job, left_out=self.left_out)

    def cancel(self) -> "Job":
        """Ask it to stop."""
        return Jobs(self.transport).cancel(self.id)

    def events(self) -> Iterator[Event]:
        """What happened so far, in order."""
        return Jobs(self.transport).events(self.id)


class Jobs:
    """Work that was asked for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        dataset: Dataset | str,
        *,
        evaluation: Dataset | str | None = None,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
        pretrained: bool = False,
        **params: Any,
    ) -> Job:
        """Train on a dataset; it starts when the dataset is ready.

        Args:
            dataset: what to train on.
            evaluation: another dataset, with labels, to judge the result on.
            name: for people to read.
            metadata: anything of yours, as JSON.
            pretrained: start from what photographs have taught already, as ``init="imagenet"`` does.
            params: training parameters by their names, such as ``preset="quick"`` (docs/presets.md explains each).

        Raises:
            ValueError: ``pretrained``, and another ``init``.
        """
        if pretrained and params.setdefault("init", "imagenet") != "imagenet":
            raise ValueError(f"pretrained: starts from ImageNet's weights, and init is {params['init']}; give one of the two")
        request = {"dataset_id": id_of(dataset), "evaluation_dataset_id": id_of(evaluation), "params": params}
        return self.post("/jobs", {**request, "name": name, "metadata": metadata or {}})

    def check(self, /, **params: Any) -> dict[str, Any]:
        """Training parameters as ``create`` would take them, before anything is uploaded for them.

        Raises:
            ApiError: one is unknown or not allowed; the message names what is.
        """
        checked: dict[str, Any] = self._transport.json("POST", "/jobs/check", again=True, json={"params": params})["params"]
        return checked

    def post(self, path: str, request: dict[str, Any]) -> Job:
        """Ask for a job once, however often that has to be sent."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        return self._job(self._transport.json("POST", path, again=True, json=request, headers=key))

    def list(self, *, kind: str | None = None, status: str | None = None, dataset: Dataset | str | None = None) -> Iterator[Job]:
        """All jobs, newest first, or those of a kind, a status or a dataset."""
        pages = self._transport.pages("/jobs", order="newest", kind=kind, status=status, dataset_id=id_of(dataset))
        return (self._job(values) for values in pages)

    def get(self, job_id: str) -> Job:
        """One job as it stands."""
        return self._job(self._transport.json("GET", path_of("jobs", job_id)))

    def cancel(self, job: Job | str) -> Job:
        """Ask a job to stop; one that waits ends at once."""
        return self._job(self._transport.json("POST", path_of("jobs", id_of(job), "cancel"), again=True))

    def continue_(self, job: Job | str, add_rounds: int | None = None) -> Job:
        """Go on from the checkpoints of a training job that is over, in a new job with the same images.

        Args:
            job: one that failed or was cancelled, or with ``add_rounds`` one that succeeded; ``Job.continuation`` tells.
            add_rounds: how many more rounds, 1 or more.
        """
        return self.post(path_of("jobs", id_of(job), "continue"), {"add_rounds": add_rounds})

    def events(self, job: Job | str) -> Iterator[Event]:
        """What happened so far, in order."""
        return (record(Event, values) for values in self._transport.pages(path_of("jobs", id_of(job), "events"), limit=1000))

    def classifications(self, job: Job | str) -> Sequence[dict[str, str]]:
        """The table of a classification job: ``image_id``, ``path``, ``label``, ``predicted``, ``confidence``."""
        table = csv.DictReader(io.StringIO(self.classifications_csv(job), newline=""))  # texts may hold line breaks
        return [{name: _FORMULA.sub(r"\1", cell) for name, cell in row.items()} for row in table]

    def classifications_csv(self, job: Job | str) -> str:
        """The same as the CSV text that the service made."""
        return self._transport.send("GET", path_of("jobs", id_of(job), "classifications"), again=True).text

    def follow(self, job_id: str, progress: bool = False) -> Job:
        """Wait for a job's end, through lost connections; returns it as it ended."""
        last_event, answered = 0, time.monotonic()
        with Progress(job_id, progress) as shown:
            while True:
                try:
                    job = self.get(job_id)
                except Unreachable:
                    if time.monotonic() - answered > _GIVE_UP_SECONDS:
                        raise
                    continue
                show(shown, job)
                if job.over:
                    return job
                last_event = self._stream(job_id, last_event, shown if progress else None)
                answered = time.monotonic()

    def _stream(self, job_id: str, last_event: int, shown: Progress | None) -> int:
        """Read events until the stream ends or breaks, and show where the job stands; returns the number of the last one."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(last_event)} if last_event else {})}
        silence = httpx.Timeout(_GIVE_UP_SECONDS, connect=10)  # the service says something every 15 s
        looked = 0.0
        try:
            with self._transport.stream(path_of("jobs", job_id, "events"), headers=headers, timeout=silence) as response:
                for line in response.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        last_event = int(value)
                    if shown is not None and not line and time.monotonic() - looked > _LOOK_SECONDS:
                        show(shown, self.get(job_id))
                        looked = time.monotonic()
        except httpx.TransportError:
            time.sleep(_RECONNECT_SECONDS)
        return last_event

    def _job(self, data: dict[str, Any]) -> Job:
        return record(Job, data, transport=self._transport)


def show(shown: Progress, job: Job) -> None:
    """Say how far a job is: its phase, round and epoch, speed and what is left."""
    now = job.progress or {}
    words = [now.get("phase") or job.status]
    if job.model_id and not job.over:
        words.append("its model answers already")
    if now.get("epoch") is not None:
        words.append(f"round {now['round'] + 1} of {now['rounds']}, epoch {now['epoch'] + 1} of {now['epochs']}")
        words += [f"loss {now['loss']:.2f}"] if now.get("loss") is not None else []
        words += [f"{now['images_per_second']:.0f} images/s"] if now.get("images_per_second") else []
    if now.get("eta_seconds") is not None and not job.over:
        words.append(f"{in_words(now['eta_seconds'])} left")
    shown.show(1.0 if job.status == "succeeded" else now.get("fraction"), ", ".join(words), news=job.over)


def in_words(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
