"""``python -m tests.e2e.acknowledged DATA MARKS``: everything that a client can be told was done, each in a line of MARKS.

The API and the work of every job are the real ones, in this process; trainings run in processes of their own.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

from core.jobs import protocol
from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.kinds import Queue
from tests.conftest import image_bytes, write_zip
from tests.live import TINY
from tests.service.serving import serving
from worker.tasks import perform

COUNT, MORE = 24, 6
TIMES = 40  # that labels are changed


class Client:
    """Asks, does the work that is waiting, and tells what was acknowledged."""

    def __init__(self, http: httpx.Client, db: Database, settings: Settings, marks: int) -> None:
        self._http, self._db, self._settings, self._marks = http, db, settings, marks

    def tell(self, **what: Any) -> None:
        os.write(self._marks, json.dumps(what).encode() + b"\n")

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._http.request(method, path, **body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def work(self) -> None:
        for queue in (Queue.TASKS, Queue.TRAINING, Queue.TASKS):
            while owner := protocol.claim(self._db, queue, "test"):
                perform(self._db, self._settings, owner)
                job = self.ask("GET", f"/jobs/{owner.job_id}")
                assert job["status"] == "succeeded", job
                self.tell(over={name: job[name] for name in ("id", "kind", "status", "dataset_id", "model_id")})

    def upload(self, path: str, archive: Path, **fields: str) -> Any:
        made = self.ask("POST", path, data=fields, files={"file": (archive.name, archive.read_bytes())})
        self.tell(uploaded=made.get("dataset_id", made["id"]), bytes=archive.stat().st_size)
        return made

    def job(self, path: str, **body: Any) -> str:
        made = self.ask("POST", path, json=body)
        self.tell(job=made["id"])
        return str(made["id"])


def main(data: Path, marks: Path) -> None:
    settings = Settings(data_dir=data, threads=1, heartbeat_seconds=0.5, checkpoint_seconds=0.5, device="cpu")
    archives = [
        write_zip(marks.with_name(f"{name}.zip"), {f"class-{i % 2}/{name}{i}.png": image_bytes(first + i) for i in range(count)})
        for name, count, first in _ARCHIVES
    ]
    descriptor = os.open(marks, os.O_WRONLY | os.O_CREAT, 0o600)
    migrate.upgrade(settings.database)
    with Database(settings.database) as db, serving(settings, db) as http:
        client = Client(http, db, settings, descriptor)
        client.tell(migrated=True)
        dataset = client.upload("/datasets", archives[0], labels="folders")["id"]
        client.work()
        images = client.ask("GET", f"/datasets/{dataset}/images?limit=1000")["data"]
        for number in range(TIMES):
            label = {"path": images[number % COUNT]["path"], "label": f"class-{number % 2}"}
            client.ask("PUT", f"/datasets/{dataset}/labels", json=[label])
            client.tell(label=label)
        client.job("/jobs", dataset_id=dataset, params={**TINY, "backbone": "resnet10", "image_size": 16})
        client.work()
        model = client.ask("GET", f"/datasets/{dataset}")["model_id"]
        client.upload(f"/datasets/{dataset}/images", archives[1])
        client.work()  # validates and embeds them
        client.job(f"/datasets/{dataset}/classifications", k=5)
        client.work()
        client.job(f"/models/{model}/attention", image_ids=[images[0]["id"]])
        client.work()
        for image in images[1:4]:
            client.ask("DELETE", f"/images/{image['id']}")
            client.tell(deleted=image["id"])
        client.job(f"/datasets/{dataset}/compactions")
        client.work()
        client.ask("PATCH", f"/datasets/{dataset}", json={"name": "another name"})
        client.tell(named=dataset, name="another name")
        cancelled = client.job("/jobs", dataset_id=dataset)
        client.ask("POST", f"/jobs/{cancelled}/cancel")
        client.tell(cancelled=cancelled)
        other = client.upload("/datasets", archives[2], labels="folders")["id"]
        client.work()
        client.tell(going=other)  # from here on it may be there or not
        client.ask("DELETE", f"/datasets/{other}")
        client.tell(gone=other)
        with db.write() as session:
            key = keys.add(session, "test", keys.Scope.READ, keys.generate()).id
        client.tell(key=key)


_ARCHIVES = (("first", COUNT, 0), ("more", MORE, 500), ("other", 4, 900))

if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
