"""Every kind of job on both databases, whatever is labelled: the same rows and files, and no number in them that is none."""

import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.ground import finite
from core.ground.folders import RunFolder
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store import migrate
from core.store.db import Database
from core.store.kinds import JobKind, Queue
from core.store.tables import ApiKey, Base, Job, Model
from tests.conftest import image_bytes, write_zip
from tests.live import TINY
from tests.service.serving import pictures, ready_dataset, serving
from trainer.__main__ import main
from worker.tasks import perform
from worker.training.inputs import write_labels
from worker.training.job import _relay
from worker.training.publish import publish

pytestmark = [pytest.mark.slow, pytest.mark.postgres]
LABELS = {  # of the first pictures
    "none": [],
    "one label": ["a"],
    "one class": ["a", "a", "a"],
    "two images of two classes": ["a", "b"],
}
# What a clock or a speed decides, and ids that are random.
_VOLATILE = {"at", "heartbeat", "paces", "recall_at_10", "request_id", "seconds", "worker"}
_VOLATILE_ENDS = ("_at", "_seconds", "per_second")
_RANDOM = re.compile(r"(?<=[_-])[0-9a-f]{16}\b")  # and the hashes of checkpoints, which hold times


@pytest.mark.parametrize("db", [pytest.param("postgres")], indirect=True)
def test_the_same_rows_and_files(db: Database, settings: Settings, tmp_path: Path) -> None:
    small = Settings(**{**settings.model_dump(), "data_dir": tmp_path / "small"})
    migrate.upgrade(small.database)
    with Database(small.database) as on_sqlite:
        states = [told(on_sqlite, small, tmp_path), told(db, settings, tmp_path)]
    differing = {name: sorted(set(one) ^ set(other)) for name, one, other in zip(LABELS, *states, strict=True)}
    assert differing == {name: [] for name in LABELS}


def told(db: Database, settings: Settings, tmp_path: Path) -> list[list[str]]:
    """The rows and the names of files, a line each, after jobs of every kind with the labels of each state."""
    dataset = ready_dataset(db, settings, pictures(16))
    states, trained = [], None
    with serving(settings, db) as client:
        images = ask(client, "GET", f"/datasets/{dataset}/images")["data"]
        for state, (name, labels) in enumerate(LABELS.items()):
            given = [*labels, *[None] * 3][:3]  # null takes a label away
            paths = (image["path"] for image in images)
            ask(client, "PUT", f"/datasets/{dataset}/labels", json=dict(zip(paths, given, strict=False)))
            ask(client, "POST", "/jobs", json={"dataset_id": dataset, "params": {**TINY, "rounds": 1, "image_size": 8}})
            trained = train(db, settings, trained)
            model = ask(client, "GET", f"/datasets/{dataset}")["model_id"]
            more = write_zip(tmp_path / "more.zip", {f"{state}/{i}.png": image_bytes(100 + 2 * state + i) for i in range(2)})
            ask(client, "POST", f"/datasets/{dataset}/images", files={"file": ("more.zip", more.read_bytes())})
            work(db, settings)  # ingest, embed
            ask(client, "POST", f"/datasets/{dataset}/classifications", json={"k": 5})
            if state in (0, len(LABELS) - 1):  # a process of its own, which reads no labels
                ask(client, "POST", f"/models/{model}/attention", json={"image_ids": [images[0]["id"]]})
            added = ask(client, "GET", f"/datasets/{dataset}/images?limit=100")["data"][-1]
            ask(client, "DELETE", f"/images/{added['id']}")
            work(db, settings)
            ask(client, "POST", f"/datasets/{dataset}/compactions")
            work(db, settings)
            every = ask(client, "GET", "/jobs?limit=100")["data"]
            assert [job["error"] for job in every if job["status"] != "succeeded"] == [], name
            assert {job["kind"] for job in every} == {kind.value for kind in JobKind}
            for path in (f"datasets/{dataset}", f"models/{model}", f"neighbours?image_id={images[0]['id']}&k=5"):
                ask(client, "GET", f"/{path}")
            states.append(everything(db, settings, dataset))
            assert sum(line.startswith("labels ") for line in states[-1]) == len(labels), name
    return states


def train(db: Database, settings: Settings, trained: Path | None) -> Path:
    """The waiting training: once in full, then from the files of that run, which no label changes, on; returns its folder."""
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None
    run = settings.root / "runs" / owner.job_id / str(owner.attempt)
    if trained is None:
        perform(db, settings, owner)
        kept = settings.root / "kept"
        shutil.copytree(run, kept)
        with db.read() as session:
            shutil.copytree(settings.root / "models" / session.scalars(select(Model.directory)).one(), kept / "model")
        return kept
    shutil.copytree(trained, run)
    with db.read() as session:
        job = lifecycle.get(session, owner.job_id)
    context, folder = JobContext(db, settings, owner), RunFolder(run)
    publish(context, folder, judged(context, job, run), _relay(context, job, folder))
    return trained


def judged(context: JobContext, job: Job, run: Path) -> Any:
    config = {
        "run": str(run),
        "data": str(run / "images.jsonl"),
        "labels": write_labels(context, job.dataset_id, run / "labels.json"),
    }
    (run / "evaluate.json").write_text(json.dumps(config))
    result = run / "evaluation.json"
    assert main(["evaluate", "--config", str(run / "evaluate.json"), "--out", str(result), "--device", "cpu"]) == 0
    return finite.loads(result.read_text())


def ask(client: httpx.Client, method: str, path: str, **body: Any) -> Any:
    answer = client.request(method, path, **body)
    assert answer.is_success, answer.text
    return strict(answer.text) if answer.text else None


def strict(text: str) -> Any:
    """JSON by its standard, which has no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON: {text[:500]}"))


def work(db: Database, settings: Settings) -> None:
    for queue in (Queue.TASKS, Queue.TRAINING):
        while owner := protocol.claim(db, queue, "test"):
            perform(db, settings, owner)


def everything(db: Database, settings: Settings, dataset: str) -> list[str]:
    """Rows and files, with other names for ids that are random."""
    names = {dataset: "the dataset"}
    with db.read() as session:
        for job in session.scalars(select(Job).order_by(Job.seq)):
            names[job.id] = f"job {job.seq}, {job.kind}"
        for number, model in enumerate(session.scalars(select(Model).order_by(Model.created_at))):
            names[model.id] = f"model {number}"
        lines = []
        for table in Base.metadata.sorted_tables:
            if table.name != ApiKey.__tablename__:
                lines += [f"{table.name} {lasting(dict(row))}" for row in session.execute(select(table)).mappings()]
    for path in settings.root.rglob("*"):
        if path.is_file() and path.relative_to(settings.root).parts[0] in ("datasets", "models", "runs", "attention", "uploads"):
            lines.append(str(path.relative_to(settings.root)))
            if path.suffix in (".json", ".jsonl"):
                text = path.read_text()
                for document in text.splitlines() if path.suffix == ".jsonl" else [text]:
                    strict(document)
    for id_, name in names.items():
        lines = [line.replace(id_, name) for line in lines]
    return sorted(_RANDOM.sub("…", line) for line in lines)


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: lasting(each) for key, each in sorted(value.items()) if not volatile(key)}
    if isinstance(value, list):
        return [lasting(each) for each in value]
    assert not isinstance(value, datetime), value
    return value.hex() if isinstance(value, bytes) else value


def volatile(key: str) -> bool:
    return key in _VOLATILE or key.endswith(_VOLATILE_ENDS)
