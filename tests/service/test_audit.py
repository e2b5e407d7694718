"""Who did what: each write leaves a line, with whoever sent it, and only those who administer read them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select

from core.jobs.sweep import delete_old_audit
from core.settings import Settings
from core.store import keys
from core.store.audit import Audit
from core.store.columns import now
from core.store.db import Database
from core.store.keys import Scope
from core.store.tables import Dataset, Image, Job
from tests.service.answers import problem
from tests.service.serving import pictures, ready_dataset, serving

Line = dict[str, Any]


@pytest.fixture
def held(settings: Settings, db: Database) -> Iterator[dict[str, httpx.Client]]:
    """A client with a key of each scope, by the scope, and one without."""
    texts = {scope: keys.generate() for scope in Scope}
    with db.write() as session:
        for scope, text in texts.items():
            keys.add(session, scope, scope, text)
    with serving(settings, db) as client:
        clients = {
            scope: httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {text}"})
            for scope, text in texts.items()
        }
        clients["nobody"] = httpx.Client(base_url=client.base_url)
        yield clients
        for each in clients.values():
            each.close()


def key_id(client: httpx.Client) -> str:
    return client.headers["authorization"].split("_")[1]


def trail(admin: httpx.Client, **query: Any) -> list[Line]:
    answer = admin.get("/audit", params=query)
    assert answer.status_code == 200, answer.text
    lines: list[Line] = answer.json()["data"]
    return lines


def said(line: Line) -> tuple[str | None, str, list[str], int | None]:
    return line["key_id"], line["action"], line["objects"], line["status"]


def test_each_write_leaves_a_line(held: dict[str, httpx.Client], db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    with db.read() as session:
        image, other, *_ = session.scalars(select(Image.id).where(Image.dataset_id == dataset).order_by(Image.id))
    write, admin = held[Scope.WRITE], held[Scope.ADMIN]
    mine, theirs = key_id(write), key_id(admin)
    upload = write.post("/datasets", files={"file": ("a.zip", pictures(2))}, headers={"X-Request-ID": "one"}).json()["id"]
    with db.read() as session:
        ingest = session.scalars(select(Job.id).where(Job.dataset_id == upload)).one()
    write.put(f"/datasets/{dataset}/labels", json=[{"image_id": image, "label": "a secret label"}])
    write.post(f"/jobs/{ingest}/cancel")
    write.delete(f"/images/{image}")
    write.post(f"/datasets/{dataset}/deletions", json={"image_ids": [other]})
    write.patch(f"/datasets/{dataset}", json={"name": "shoes"})
    admin.delete(f"/datasets/{dataset}")
    lines = trail(admin)
    assert [said(line) for line in lines] == [
        (mine, "create_dataset", [upload, ingest], 202),
        (mine, "change_labels", [dataset], 200),
        (mine, "cancel_job", [ingest], 202),
        (mine, "delete_image", [str(image)], 204),
        (mine, "delete_images", [dataset, str(other)], 200),
        (mine, "change_dataset", [dataset], 200),
        (theirs, "delete_dataset", [dataset], 204),
    ]
    first = lines[0]
    assert (first["request_id"], first["address"], first["session"]) == ("one", "127.0.0.1", None)
    assert abs(datetime.fromisoformat(first["created_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert "secret" not in str(lines) and all(client.headers["authorization"][7:] not in str(lines) for client in (write, admin))


def test_training_and_activating_leave_lines(held: dict[str, httpx.Client], db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    admin = held[Scope.ADMIN]
    job = held[Scope.WRITE].post("/jobs", json={"dataset_id": dataset, "params": {"preset": "quick"}})
    assert job.status_code in (202, 422), job.text
    held[Scope.WRITE].put(f"/datasets/{dataset}/model", json={"model_id": "mdl_0000000000000000"})
    training, activating = trail(admin)
    assert (training["action"], training["status"]) == ("create_job", job.status_code)
    assert training["objects"] == ([job.json()["id"], dataset] if job.status_code == 202 else [])
    assert said(activating)[1:] == ("set_current_model", [dataset, "mdl_0000000000000000"], 404)


def test_what_was_refused_leaves_a_line_and_what_only_asks_none(held: dict[str, httpx.Client], db: Database) -> None:
    admin, dataset = held[Scope.ADMIN], "ds_0123456789abcdef"
    assert held["nobody"].delete(f"/datasets/{dataset}").status_code == 401
    assert held["nobody"].delete(f"/datasets/{dataset}", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert held[Scope.READ].delete(f"/datasets/{dataset}").status_code == 403
    assert admin.delete(f"/datasets/{dataset}").status_code == 404
    assert held[Scope.READ].post("/neighbours", json={"image_ids": [1]}).status_code == 404
    assert held[Scope.READ].get("/datasets").status_code == 200
    assert held["nobody"].post("/nothing").status_code == 401
    assert [said(line)[::3] for line in trail(admin)] == [
        (None, 401),
        (None, 401),
        (key_id(held[Scope.READ]), 403),
        (key_id(admin), 404),
    ]


def test_sessions_leave_lines(held: dict[str, httpx.Client]) -> None:
    admin = held[Scope.ADMIN]
    text = admin.headers["authorization"].removeprefix("Bearer ")
    page = held["nobody"]
    assert page.post("/session", json={"key": "wrong"}).status_code == 401
    assert page.post("/session", json={"key": text}).status_code == 200
    assert page.delete("/session").status_code == 204
    assert [said(line) for line in trail(admin)] == [
        (None, "open_session", [], 401),
        (key_id(admin), "open_session", [], 200),
        (key_id(admin), "close_session", [], 204),
    ]


def test_nobody_fills_the_disk_with_refusals(held: dict[str, httpx.Client]) -> None:
    for _ in range(100):
        held["nobody"].delete("/models/mdl_0123456789abcdef")
    held[Scope.READ].delete("/models/mdl_0123456789abcdef")
    admin = held[Scope.ADMIN]
    *many, last, of_another = trail(admin, limit=1000)
    assert {line["action"] for line in many} == {"delete_model"} and 50 < len(many) < 90
    assert (last["action"], last["key_id"]) == ("more_refused", None)
    assert of_another["key_id"] == key_id(held[Scope.READ])


def test_only_who_administers_reads_it(held: dict[str, httpx.Client]) -> None:
    problem(held["nobody"].get("/audit"), 401, "unauthorized")
    for scope in (Scope.READ, Scope.WRITE):
        problem(held[scope].get("/audit"), 403, "scope_too_small")


def test_the_line_is_of_the_transaction_of_what_it_tells(api: httpx.Client, db: Database, settings: Settings) -> None:
    """Whatever of the two is there, the other is: the insert of the line is made to fail."""
    dataset = ready_dataset(db, settings)
    statement = (
        "CREATE TRIGGER no_lines BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'no'); END"
        if db.engine.dialect.name == "sqlite"
        else "ALTER TABLE audit ADD CONSTRAINT no_lines CHECK (id < 0)"
    )
    with db.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert api.patch(f"/datasets/{dataset}", json={"name": "changed"}).status_code == 500
    with db.read() as session:
        assert session.scalar(select(Dataset.name).where(Dataset.id == dataset)) != "changed"


def rows(count: int) -> list[dict[str, Any]]:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "created_at": begin + timedelta(days=number),
            "key_id": f"{number % 3:012}",
            "action": ("delete_image", "change_labels")[number % 2],
            "object": f"ds_{number % 5:016} 7{number}",
            "status": 200,
        }
        for number in range(count)
    ]


def test_pages_and_filters(api: httpx.Client, db: Database) -> None:
    with db.write() as session:
        session.execute(insert(Audit), rows(30))
    found: list[Line] = []
    after = None
    while True:
        page = api.get("/audit", params={"limit": 7, "order": "newest", **({"after": after} if after else {})}).json()
        found += page["data"]
        after = page["next"]
        if after is None:
            break
    everything = trail(api)
    assert found == everything[::-1] and len(found) == 30
    of = {
        "key": ("000000000001", lambda line: line["key_id"] == "000000000001"),
        "action": ("change_labels", lambda line: line["action"] == "change_labels"),
        "object": ("ds_0000000000000003", lambda line: line["objects"][0].endswith("3")),
        "since": ("2026-01-11", lambda line: line["created_at"] >= "2026-01-11"),
        "until": ("2026-01-11T02:00:00+02:00", lambda line: line["created_at"] < "2026-01-11"),
    }
    for name, (value, fits) in of.items():
        expected = [line for line in everything if fits(line)]
        assert trail(api, **{name: value}) == expected and 0 < len(expected) < 30, name
    assert [line["objects"] for line in trail(api, object="712")] == [["ds_0000000000000002", "712"]]  # no other begins so
    for wrong in ("%", "_s_0000000000000003", "71"):
        assert len(trail(api, object=wrong)) == (1 if wrong == "71" else 0)
    for wrong in ({"since": "soon"}, {"since": "0001-01-01T00:00:00+14:00"}, {"key": "a\0b"}, {"after": "x"}):
        assert api.get("/audit", params=wrong).status_code == 422, wrong


def test_old_lines_are_deleted(db: Database) -> None:
    with db.write() as session:
        session.execute(insert(Audit), [{**line, "created_at": now() - timedelta(days=500)} for line in rows(2500)])
        session.execute(insert(Audit), [{**line, "created_at": now() - timedelta(days=390)} for line in rows(3)])
    assert delete_old_audit(db, 400) == 2500
    with db.read() as session:
        assert len(session.scalars(select(Audit.id)).all()) == 3
