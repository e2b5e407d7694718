"""A client that submits two jobs a minute, sends again what was not answered, and remembers what was accepted."""

import hashlib
import json
import logging
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import picture_zip
from tests.live import TINY, Running

log = logging.getLogger("chaos")
EVERY = 30.0  # seconds from one job to the next
IMAGES = 24
_PATIENCE = 180.0  # seconds in which a request must be accepted in the end
_OVER = ("succeeded", "failed", "cancelled")


@dataclass
class Sent:
    """A job that was answered with 202."""

    job_id: str
    dataset_id: str


class Client:
    """Odd jobs are an upload and a job in one request, even ones two requests."""

    def __init__(self, system: Running, folder: Path) -> None:
        self._http = httpx.Client(base_url=str(system.client.base_url), timeout=20)
        self._folder = folder
        self.sent: list[Sent] = []
        self.files: dict[str, dict[str, str]] = {}  # dataset's name: path: SHA-256, for every upload that was tried
        self.complaints: list[str] = []  # answers that no client should get, whatever was killed

    def run(self, seconds: float) -> None:
        """Submit until the time is over."""
        begin = time.monotonic()
        number = 0
        while time.monotonic() - begin < seconds:
            if time.monotonic() - begin >= number * EVERY:
                try:
                    self._submit(number)
                except Exception as error:
                    log.exception("job %d", number)
                    self.complaints.append(f"job {number} could not be submitted: {type(error).__name__}: {error}")
                number += 1
            self._look_around()
            time.sleep(0.5)

    def drained(self) -> bool:
        """Whether no job waits or runs any more."""
        try:
            unfinished = [self._http.get("/jobs", params={"status": status}) for status in ("queued", "running")]
            return all(answer.status_code == 200 and not answer.json()["data"] for answer in unfinished)
        except httpx.TransportError:
            return False

    def _look_around(self) -> None:
        """What a dashboard would ask; it may get no answer, or 503 while the database is away."""
        paths = ["/jobs?order=newest", *(f"/jobs/{sent.job_id}" for sent in self.sent[-1:])]
        for path in paths:
            try:
                self._judge(self._http.get(path))
            except httpx.TransportError:
                continue

    def _submit(self, number: int) -> None:
        path = picture_zip(self._folder / f"{number}.zip", IMAGES, first=1000 * number)
        with zipfile.ZipFile(path) as archive:
            files = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        key = {"Idempotency-Key": uuid.uuid4().hex}
        if number % 2:
            name = f"job {number}"
            self.files[name] = files
            form = {"name": name, "labels": "folders", "params": json.dumps(TINY)}
            content = path.read_bytes()
            job = self._accepted(lambda _: self._http.post("/jobs", data=form, files={"file": content}, headers=key))
        else:
            dataset = self._accepted(lambda attempt: self._upload(f"upload {number}.{attempt}", path, files))
            request = {"dataset_id": dataset["id"], "params": TINY, "name": f"job {number}"}
            job = self._accepted(lambda _: self._http.post("/jobs", json=request, headers=key))
        self.sent.append(Sent(job["id"], job["dataset_id"]))
        log.info("job %d was accepted: %s", number, job["id"])

    def _upload(self, name: str, path: Path, files: dict[str, str]) -> httpx.Response:
        """An upload has no key, so every attempt has a name of its own: one that was not answered may be there all the same."""
        self.files[name] = files
        return self._http.post("/datasets", data={"name": name, "labels": "folders"}, files={"file": path.read_bytes()})

    def _accepted(self, request: Callable[[int], httpx.Response]) -> dict[str, Any]:
        """The answer to a request that is sent again until it has one."""
        deadline, attempt = time.monotonic() + _PATIENCE, 0
        while True:
            try:
                answer = request(attempt)
                self._judge(answer)
                if answer.status_code == 202:
                    body: dict[str, Any] = answer.json()
                    return body
                if answer.status_code != 503:
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
            except httpx.TransportError as error:
                log.info("not answered: %s", type(error).__name__)
            attempt += 1
            if time.monotonic() > deadline:
                raise TimeoutError(f"not accepted within {_PATIENCE:.0f} s")
            time.sleep(1)

    def _judge(self, answer: httpx.Response) -> None:
        if answer.status_code >= 500 and answer.status_code != 503:
            self.complaints.append(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")

    def get(self, path: str) -> Any:
        answer = self._http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def content(self, image_id: int) -> bytes:
        answer = self._http.get(f"/images/{image_id}/file")
        assert answer.status_code == 200, answer.text
        return answer.content
