"""A model's files over HTTP while compaction replaces them, on SQLite and PostgreSQL, and when they are damaged."""

import shutil
from collections.abc import Iterator
from threading import Event, Thread

import httpx
import pytest
from sqlalchemy import func, select, update

from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Job, Model
from tests.published import Published
from tests.service.answers import problem
from tests.service.serving import copy, serving


@pytest.fixture
def api(published: Published, settings: Settings, db: Database) -> Iterator[httpx.Client]:
    copy(published, settings, db)
    with serving(settings, db) as client:
        yield client


def test_a_file_is_sent_again_only_when_it_has_changed(published: Published, api: httpx.Client) -> None:
    model = f"/models/{published.job['model_id']}"
    files = api.get(model).json()["manifest"]["files"]
    for name in ("ids.npy", "manifest.json"):
        first = api.get(f"{model}/files/{name}")
        tag = first.headers["etag"]
        assert name == "manifest.json" or tag == f'"{files[name]["sha256"]}"'
        assert "no-cache" in first.headers["cache-control"] and "immutable" not in first.headers["cache-control"]
        again = api.get(f"{model}/files/{name}", headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert api.get(f"{model}/files/{name}", headers={"If-None-Match": '"other"'}).content == first.content
        part = api.get(f"{model}/files/{name}", headers={"Range": "bytes=2-5", "If-Range": tag})
        assert (part.status_code, part.content) == (206, first.content[2:6])


def test_a_folder_that_is_replaced_is_not_missed(
    published: Published, settings: Settings, db: Database, api: httpx.Client
) -> None:
    model, home, over = published.job["model_id"], settings.root / "models", Event()

    def replace() -> None:
        number = 0
        while not over.is_set():
            with db.read() as session:
                old = session.get_one(Model, model).directory
            new = f"{old.partition('+')[0]}+job_{number}-1"
            shutil.copytree(home / old, home / new)
            with db.write() as session:
                session.execute(update(Model).where(Model.id == model).values(directory=new))
            shutil.rmtree(home / old)
            number += 1
            over.wait(0.02)

    thread = Thread(target=replace)
    thread.start()
    try:
        answers = [api.get(f"/models/{model}{rest}") for _ in range(150) for rest in ("", "/files/encoder.onnx")]
    finally:
        over.set()
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2


def test_a_damaged_model_is_called_so(published: Published, settings: Settings, api: httpx.Client) -> None:
    model = published.job["model_id"]
    folder = settings.root / "models" / f"{published.job['id']}-{published.job['attempt']}"
    (folder / "ids.npy").write_bytes(b"")
    for path in (f"/models/{model}", f"/models/{model}/files/encoder.onnx"):
        problem(api.get(path), 500, "model_damaged")
    shutil.rmtree(folder)
    assert str(settings.root) not in problem(api.get(f"/models/{model}"), 500, "model_damaged")


def test_the_same_key_makes_one_classification(published: Published, db: Database, api: httpx.Client) -> None:
    path, key = f"/datasets/{published.dataset}/classifications", {"Idempotency-Key": "once"}
    first, again = (api.post(path, json={"k": 3}, headers=key) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    problem(api.post(path, json={"k": 4}, headers=key), 409, "idempotency_key_reused")
    problem(api.post("/jobs", json={"dataset_id": published.dataset}, headers=key), 409, "idempotency_key_reused")
    assert api.post(path, json={"k": 3}).json()["id"] != first.json()["id"]
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Job).where(Job.kind == JobKind.CLASSIFY)) == 2
