"""A key that is limited to a dataset sees nothing of another one, by whatever route and whatever names it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from anchorhood.commands.main import commands
from core.errors import BadSettings, DatasetNotFound
from core.jobs import lifecycle
from core.settings import Settings
from core.store import keys
from core.store.columns import now
from core.store.db import Database
from core.store.keys import Scope
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Dataset, Image, Job, JobEvent, Metric, Model, Rejection
from service.openapi import document
from tests.core.collections.embedded import make_embedded
from tests.service.answers import problem
from tests.service.keys import bearer, command, make
from tests.service.serving import pictures, ready_dataset, serving

OF_NOBODY = {  # what tells nothing of any dataset
    *(("GET", path) for path in ("/formats", "/healthz", "/readyz", "/session")),
    *((method, "/session") for method in ("POST", "DELETE")),
}
SECRET = "secret"  # in every name of the hidden dataset
VECTOR = [1.0] * 8


@dataclass
class System:
    client: httpx.Client
    db: Database
    shown: str  # the dataset that the key is limited to
    hidden: dict[str, Any]  # what the other one, ds_1, has, by the names of the routes' parameters

    def ask(self, key: str, method: str, path: str, **request: Any) -> httpx.Response:
        path = path.format(**self.hidden, shown=self.shown)
        headers = {**bearer(key), **request.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **request)


@pytest.fixture
def system(settings: Settings, db: Database) -> Iterator[System]:
    make_embedded(db, settings)
    (settings.layout.datasets / "s").write_bytes(b"x")
    with db.write() as session:
        session.execute(update(Dataset).values(name=SECRET))
        session.execute(update(Image).values(path=SECRET + Image.path))
        job = lifecycle.create(session, JobKind.TRAIN, "ds_1").id
        session.add(JobEvent(job_id=job, seq=2, type=SECRET, data={}, created_at=now()))
        figures = {"loss": 1.0, "learning_rate": 1.0, "images_per_second": 1.0, "anchors": 1.0}
        session.add(Metric(job_id=job, round=0, epoch=0, **figures))
        running = {"status": JobStatus.RUNNING, "progress": {"images_per_second": 1.0, "loss": 1.0}, "name": SECRET}
        session.execute(update(Job).where(Job.id == job).values(running))
        session.add(Rejection(dataset_id="ds_1", job_id=job, path=SECRET, code="x", reason="y"))
        image = session.scalars(select(Image.id)).first()
    shown = ready_dataset(db, settings, pictures(20))
    hidden = {"dataset_id": "ds_1", "job_id": job, "model_id": "mdl_1", "image_id": image, "name": "ids.npy", "round": 0}
    with serving(settings, db) as client:
        yield System(client, db, shown, hidden)


def requests(image: int, shown: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Ways to name the hidden dataset: in a path, a query and a body, alone and beside the one that may be seen."""
    asked = [
        *(("GET", f"/neighbours?{query}", {}) for query in ("image_id={image_id}", "image_id=1&model_id={model_id}")),
        ("GET", "/neighbours?image_id={image_id}&dataset_id={dataset_id}", {}),
        ("GET", "/classify?image_id={image_id}", {}),
        ("GET", "/classify?image_id={image_id}&model_id={model_id}", {}),
        *(
            ("POST", "/neighbours", {"json": body})
            for body in (
                {"image_ids": [image]},
                {"positive": [image]},
                {"vector": VECTOR, "dataset_id": "ds_1"},
                {"vector": VECTOR, "model_id": "mdl_1"},
                {"vector": VECTOR},
                {"queries": [{"image_ids": [image]}]},
            )
        ),
        ("POST", "/neighbours", {"data": {"model_id": "mdl_1"}, "files": {"file": b"x"}}),
        ("POST", "/neighbours", {"files": {"file": b"x"}}),
        ("POST", "/classify", {"data": {"dataset_id": "ds_1"}, "files": {"file": b"x"}}),
        ("POST", "/datasets/{dataset_id}/images", {"files": {"file": pictures(1)}}),
        ("POST", "/datasets/{dataset_id}/deletions", {"json": {"image_ids": [image]}}),
        ("POST", "/datasets/{shown}/deletions", {"json": {"image_ids": [image]}}),
        ("PATCH", "/datasets/{dataset_id}", {"json": {"name": "mine"}}),
        ("PUT", "/datasets/{dataset_id}/labels", {"json": [{"image_id": image, "label": "mine"}]}),
        ("PUT", "/datasets/{shown}/labels", {"json": [{"image_id": image, "label": "mine"}]}),
        ("PUT", "/datasets/{dataset_id}/model", {"json": {"model_id": "mdl_1"}}),
        ("PUT", "/datasets/{shown}/model", {"json": {"model_id": "mdl_1"}}),
        ("POST", "/datasets/{dataset_id}/classifications", {"json": {}}),
        ("POST", "/datasets/{shown}/classifications", {"json": {"model_id": "mdl_1"}}),
        ("POST", "/models/{model_id}/attention", {"json": {"image_ids": [image]}}),
        ("GET", "/images/{image_id}/attention?model_id={model_id}", {}),
        ("POST", "/jobs", {"json": {"dataset_id": "ds_1"}}),
        ("POST", "/jobs", {"json": {"dataset_id": shown, "evaluation_dataset_id": "ds_1"}}),
        ("POST", "/jobs", {"json": {"dataset_id": shown, "params": {"init": "mdl_1"}}}),
        ("POST", "/jobs/check", {"json": {"params": {"init": "mdl_1"}}}),
        ("POST", "/jobs", {"files": {"file": pictures(1)}}),
        ("POST", "/datasets", {"files": {"file": pictures(1)}}),
        ("POST", "/datasets", {"json": {"uri": "file:///"}}),
        ("POST", "/jobs/{job_id}/continue", {"json": {}}),
        ("GET", "/datasets?name=" + SECRET, {}),
        ("GET", "/datasets?after={dataset_id}", {}),
        ("GET", "/models?dataset_id={dataset_id}", {}),
        ("GET", "/models?after={model_id}", {}),
        ("GET", "/jobs?dataset_id={dataset_id}", {}),
        ("GET", "/jobs?after={job_id}", {}),
        ("GET", "/datasets/{shown}/rejections?job_id={job_id}", {}),
        ("GET", "/datasets/{shown}/leave-one-out?model_id={model_id}", {}),
        ("GET", "/jobs/{job_id}/events", {"headers": {"Accept": "text/event-stream"}}),
    ]
    named = {(method, re.sub(r"\?.*", "", path)) for method, path, _ in asked}
    operations = {(method.upper(), path) for path, found in json.loads(document())["paths"].items() for method in found}
    rest = operations - OF_NOBODY - named
    assert all(method in ("GET", "DELETE") or method == "POST" for method, _ in rest), rest
    return [*asked, *((method, path, {}) for method, path in sorted(rest))]


def test_no_route_tells_or_changes_anything_of_another_dataset(system: System) -> None:
    key = make(system.db, Scope.WRITE, system.shown)
    before = rows(system.db)
    found = requests(system.hidden["image_id"], system.shown)
    assert len(found) > 60
    for method, path, request in found:
        answer = system.ask(key, method, path, **request)
        said = f"{method} {path} {request}: {answer.status_code} {answer.text[:300]}"
        if path.partition("?")[0] in ("/datasets", "/jobs", "/models", "/metrics") and method == "GET" and "after" not in path:
            assert answer.status_code == 200, said
            assert SECRET not in answer.text and "ds_1" not in answer.text and system.hidden["job_id"] not in answer.text, said
        elif path.startswith("/datasets/{shown}/rejections"):
            assert answer.json()["data"] == [], said
        else:
            assert answer.status_code in (403, 404, 422), said
            assert SECRET not in answer.text, said
    assert rows(system.db) == before, "nor was anything changed"


def rows(db: Database) -> list[object]:
    with db.read() as session:
        return [
            sorted(map(tuple, session.execute(select(*table.__table__.columns)).all()), key=repr)
            for table in (Dataset, Image, Job, Model, Rejection)
        ]


def test_what_it_may_see_it_sees_as_everybody_else_does(system: System) -> None:
    limited, free = make(system.db, Scope.WRITE, "ds_1"), make(system.db, Scope.WRITE)
    asked = [(path, request) for method, path, request in requests(system.hidden["image_id"], system.shown) if method == "GET"]
    shown = 0
    for path, request in asked:
        if "{shown}" in path or path == "/metrics" or request:
            continue
        mine, everybodys = (system.ask(key, "GET", path) for key in (limited, free))
        assert mine.status_code == everybodys.status_code, (path, mine.text)
        shown += mine.status_code == 200
    assert shown > 20
    for kind, count in (("datasets", 1), ("models", 1)):
        assert len(system.ask(limited, "GET", f"/{kind}").json()["data"]) == count
    assert {job["dataset_id"] for job in system.ask(limited, "GET", "/jobs").json()["data"]} == {"ds_1"}
    assert len(system.ask(free, "GET", "/datasets").json()["data"]) == 2
    named = {"image_ids": [system.hidden["image_id"]]}
    assert system.ask(limited, "POST", "/neighbours", json=named).status_code == 200
    with system.db.read() as session:
        others = session.scalars(select(Image.id).where(Image.dataset_id == system.shown)).first()
    for foreign in ({"image_ids": [others]}, {"positive": [others, system.hidden["image_id"]]}, {"negative": [others], **named}):
        answer = system.ask(limited, "POST", "/neighbours", json={**foreign, "dataset_id": "ds_1"})
        assert answer.status_code in (404, 422), (foreign, answer.text)
    label = {"json": [{"image_id": system.hidden["image_id"], "label": "mine"}]}
    assert system.ask(limited, "PUT", "/datasets/{dataset_id}/labels", **label).status_code == 200
    with_session = system.client.post("/session", json={"key": limited})
    assert with_session.status_code == 200
    assert [one["id"] for one in system.client.get("/datasets").json()["data"]] == ["ds_1"], "nor does its page see more"


def test_a_deleted_dataset_does_not_open_the_others(system: System) -> None:
    limited = make(system.db, Scope.READ, system.shown)
    with system.db.write() as session:
        session.delete(session.get_one(Dataset, system.shown))
    assert system.ask(limited, "GET", "/datasets").json()["data"] == []
    problem(system.ask(limited, "GET", "/datasets/ds_1"), 404, "dataset_not_found")


def test_a_key_is_limited_to_what_there_is_and_never_an_administrator(db: Database) -> None:
    with pytest.raises(DatasetNotFound), db.write() as session:
        keys.add(session, "x", Scope.READ, keys.generate(), datasets=["ds_none"])
    with pytest.raises(BadSettings, match="read or write"), db.write() as session:
        keys.add(session, "x", Scope.ADMIN, keys.generate(), datasets=["ds_none"])
    with db.read() as session:
        assert keys.list_all(session) == []


def test_the_command_line_makes_keys_that_end_and_see_little(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(settings.data_dir))
    runner = CliRunner()
    command("migrate")
    with Database(settings.database) as db:
        dataset = ready_dataset(db, settings)
    made = json.loads(command("keys", "create", "guest", "--scope", "read", "--expires", "30d", "--dataset", dataset, "--json"))
    assert made["datasets"] == [dataset]
    line = command("keys", "list")
    assert f"sees {dataset}" in line and "until" in line
    with Database(settings.database) as db:
        held = keys.verify(db, made["key"])
        assert held is not None and held.limited
        with db.read() as session:
            (key,) = keys.list_all(session)
        assert timedelta(days=29) < key.expires_at - now() <= timedelta(days=30)
        with db.write() as session:
            session.get_one(type(key), key.id).expires_at = now() - timedelta(seconds=1)
        assert keys.verify(db, made["key"]) is None
    assert "expired" in command("keys", "list")
    for wrong in ("30", "0d", "d", "1y", "-1d", "1.5d"):
        assert runner.invoke(commands, ["keys", "create", "x", "--scope", "read", f"--expires={wrong}"]).exit_code == 2
    for arguments in (["--scope", "admin", "--dataset", dataset], ["--scope", "read", "--dataset", "ds_none"]):
        assert runner.invoke(commands, ["keys", "create", "x", *arguments]).exit_code == 1
    assert len(command("keys", "list").splitlines()) == 1
