"""``client.jobs``."""

import csv
import io
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
from tqdm import tqdm

from anchorhood.datasets import id_of
from anchorhood.records import Dataset, Event, Job, record
from anchorhood.transport import Unreachable, refused

if TYPE_CHECKING:
    from anchorhood.client import Client

_RECONNECT_SECONDS, _GIVE_UP_SECONDS = 1.0, 120.0


class Jobs:
    """Work that was asked for."""

    def __init__(self, client: "Client") -> None:
        self._client, self._transport = client, client.transport

    def create(
        self,
        dataset: Dataset | str,
        *,
        evaluation: Dataset | str | None = None,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
        **params: Any,
    ) -> Job:
        """Train on a dataset; it starts when the dataset is ready.

        Args:
            dataset: what to train on.
            evaluation: another dataset, with labels, to judge the result on.
            name: for people to read.
            metadata: anything of yours, as JSON.
            params: training parameters by their names, such as ``preset="quick"`` (docs/presets.md explains each).
        """
        request = {"dataset_id": id_of(dataset), "evaluation_dataset_id": id_of(evaluation), "params": params}
        return self.post("/jobs", {**request, "name": name, "metadata": metadata or {}})

    def post(self, path: str, request: dict[str, Any]) -> Job:
        """Ask for a job once, however often that has to be sent."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        return self._job(self._transport.json("POST", path, again=True, json=request, headers=key))

    def list(self, *, kind: str | None = None, status: str | None = None, dataset: Dataset | str | None = None) -> Iterator[Job]:
        """All jobs, newest first, or those of a kind, a status or a dataset."""
        found = self._transport.pages("/jobs", order="newest", kind=kind, status=status, dataset_id=id_of(dataset))
        return (self._job(job) for job in found)

    def get(self, job_id: str) -> Job:
        """One job as it stands."""
        return self._job(self._transport.json("GET", f"/jobs/{job_id}"))

    def cancel(self, job: Job | str) -> Job:
        """Ask a job to stop; one that waits ends at once."""
        return self._job(self._transport.json("POST", f"/jobs/{id_of(job)}/cancel", again=True))

    def continue_(self, job: Job | str, add_rounds: int | None = None) -> Job:
        """Go on from the checkpoints of a training job that is over, in a new job with the same images.

        Args:
            job: one that failed or was cancelled, or with ``add_rounds`` one that succeeded; ``Job.continuation`` tells.
            add_rounds: how many more rounds, 1 or more.
        """
        return self.post(f"/jobs/{id_of(job)}/continue", {"add_rounds": add_rounds})

    def events(self, job: Job | str) -> Iterator[Event]:
        """What happened so far, in order."""
        return (record(Event, found) for found in self._transport.pages(f"/jobs/{id_of(job)}/events", limit=1000))

    def classifications(self, job: Job | str) -> Sequence[dict[str, str]]:
        """The table of a classification job: ``image_id``, ``path``, ``label``, ``predicted``, ``confidence``."""
        return list(csv.DictReader(io.StringIO(self.classifications_csv(job), newline="")))  # texts may hold line breaks

    def classifications_csv(self, job: Job | str) -> str:
        """The same as the CSV text that the service made."""
        return self._transport.send("GET", f"/jobs/{id_of(job)}/classifications", again=True).text

    def follow(self, job_id: str, progress: bool = False) -> Job:
        """Wait for a job's end, through lost connections; returns it as it ended."""
        seen, answered = 0, time.monotonic()
        with tqdm(desc=job_id, unit="epoch", mininterval=1, disable=not progress) as bar:
            while True:
                try:
                    job = self.get(job_id)
                except Unreachable:
                    if time.monotonic() - answered > _GIVE_UP_SECONDS:
                        raise
                    continue
                if job.over:
                    return job
                seen = self._stream(job_id, seen, bar)
                answered = time.monotonic()

    def _stream(self, job_id: str, seen: int, bar: "tqdm[Any]") -> int:
        """Show events until the stream ends or breaks; returns the number of the last one."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(seen)} if seen else {})}
        silence = httpx.Timeout(_GIVE_UP_SECONDS, connect=10)  # the service says something every 15 s
        try:
            with self._transport.http.stream("GET", f"/jobs/{job_id}/events", headers=headers, timeout=silence) as response:
                if response.is_error:
                    response.read()
                    raise refused(response)
                kind = ""
                for line in response.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        seen = int(value)
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        show(bar, kind, json.loads(value))
        except httpx.TransportError:
            time.sleep(_RECONNECT_SECONDS)
        return seen

    def _job(self, data: dict[str, Any]) -> Job:
        return record(Job, data, client=self._client)


def show(bar: "tqdm[Any]", kind: str, data: dict[str, Any]) -> None:
    """Put an event of a training job on a progress bar of its epochs."""
    if kind == "started":
        config = data["config"]
        bar.reset(config["epochs_first"] + (config["rounds"] - 1) * config["epochs"])
    elif kind == "epoch":
        done = data["epoch"] + 1
        if data["round"] and bar.total:
            done += bar.total - (data["rounds"] - data["round"]) * data["epochs"]
        speed = f"{data['images_per_second']:.0f} images/s"
        bar.set_postfix_str(f"round {data['round']} loss {data['loss']:.2f} anchors {data['anchors']:.0%} {speed}")
        bar.update(done - bar.n)
    elif kind == "evaluating":
        bar.set_postfix_str("evaluating every round, an untrained encoder and raw pixels")
