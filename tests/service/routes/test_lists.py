"""Lists: their order, where they go on, and that nothing else is taken for that; names and notes of datasets."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update

from core.collections import datasets
from core.jobs import lifecycle
from core.settings import Settings
from core.store import migrate
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Dataset, Job, Model
from tests.service.answers import JSON
from tests.service.serving import pictures, ready_dataset, serving


@pytest.fixture
def client(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


def listed(client: httpx.Client, path: str, limit: int = 2, **query: str) -> list[dict[str, Any]]:
    """All rows, some at a time."""
    rows: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": limit, **query, **after}).json()
        assert len(page["data"]) <= limit
        rows += page["data"]
        if page["next"] is None:
            return rows
        after = {"after": page["next"]}


def made(db: Database, count: int, name: str = "test") -> list[str]:
    ids = [datasets.new_dataset_id() for _ in range(count)]
    for id_ in ids:
        with db.write() as session:
            datasets.create(session, id_, name, "none")
    return ids


def test_datasets_and_models_are_in_the_order_of_their_creation(client: httpx.Client, db: Database) -> None:
    ids = made(db, 9)
    with db.write() as session:
        job = session.scalars(select(Job.id)).first()
        moment = now()
        for number, id_ in enumerate(ids):
            columns = {"dataset_id": ids[0], "job_id": job, "attempt": 1, "directory": "x", "images": 1, "dim": 1}
            at = moment + timedelta(microseconds=number // 3)  # three of one moment
            session.execute(insert(Model).values(id=id_.replace("ds", "mdl"), created_at=at, **columns))
    assert [row["id"] for row in listed(client, "/datasets")] == ids
    models = [row["id"] for row in listed(client, "/models")]
    expected = [id_.replace("ds", "mdl") for id_ in ids]
    assert models == [id_ for start in (0, 3, 6) for id_ in sorted(expected[start : start + 3])]
    assert [row["id"] for row in listed(client, "/models", dataset_id=ids[0])] == models
    assert listed(client, "/models", dataset_id=ids[1]) == []


def test_datasets_of_one_moment_are_all_listed_once(client: httpx.Client, db: Database) -> None:
    ids = made(db, 7)
    with db.write() as session:
        session.execute(update(Dataset).values(created_at=now()))
    for limit in (1, 2, 3, 7):
        assert [row["id"] for row in listed(client, "/datasets", limit)] == sorted(ids)


def test_datasets_of_a_name(client: httpx.Client, db: Database) -> None:
    ids = [*made(db, 3, "Schuhe #1 & ä"), *made(db, 1, "Schuhe"), *made(db, 2, "Schuhe #1 & ä")]
    found = client.get("/datasets", params={"name": "Schuhe #1 & ä", "limit": 2}).json()
    assert [row["id"] for row in found["data"]] == ids[:2]
    rest = client.get("/datasets", params={"name": "Schuhe #1 & ä", "after": found["next"]}).json()
    assert [row["id"] for row in rest["data"]] == [ids[2], *ids[4:]]
    for other in ("schuhe", "Schuhe ", "%", ""):
        assert client.get("/datasets", params={"name": other}).json()["data"] == []


def test_what_is_no_cursor_is_refused_on_every_list(client: httpx.Client, settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        training = lifecycle.create(session, JobKind.TRAIN, dataset).id
        columns = {"dataset_id": dataset, "job_id": training, "attempt": 1, "directory": "x", "images": 1, "dim": 1}
        session.execute(insert(Model).values(id="mdl_1", created_at=now(), **columns))
    numbers = (
        f"/datasets/{dataset}/images",
        f"/datasets/{dataset}/rejections",
        "/models/mdl_1/attention",
        f"/jobs/{training}/events",
    )
    wrong = ["", " ", "x", "-1", "1.5", "1e3", "+1", " 1", "0x1", "²", "١", "1_0", "null", "9" * 5000, str(2**63)]
    wrong += ["1,2", "ds_1", "mdl_1", training, dataset, "'; --", "é"]
    lists = dict.fromkeys(numbers, wrong)
    lists |= {"/datasets": [*wrong, "1", f"{dataset} ", dataset.upper()], "/jobs": [*wrong, "1"], "/models": [*wrong, "1"]}
    own = {"/datasets": dataset, "/jobs": training, "/models": "mdl_1"}
    for path, cursors in lists.items():
        for after in set(cursors) - {own.get(path)}:
            answer = client.get(path, params={"after": after})
            assert (answer.status_code, answer.json()["code"]) == (422, "bad_cursor"), (path, after)
            assert answer.json()["detail"].startswith("after: ")
            assert len(answer.json()["detail"]) < 300
        assert client.get(path, params={"after": own.get(path, "0")}).status_code == 200
    for more in ({"order": "newest"}, {"kind": "train"}):
        assert client.get("/jobs", params={"after": "job_1", **more}).json()["code"] == "bad_cursor"
    assert client.get(numbers[0], params={"after": "x", "order": "newest"}).json()["code"] == "bad_cursor"


def test_a_deleted_datasets_id_is_no_cursor_any_more(client: httpx.Client, db: Database) -> None:
    first, second = made(db, 2)
    with db.write() as session:
        session.execute(update(Job).values(status="failed"))
    assert client.delete(f"/datasets/{first}").status_code == 204
    assert client.get("/datasets", params={"after": first}).json()["code"] == "bad_cursor"
    assert client.get("/datasets", params={"after": second}).json() == {"data": [], "next": None}


def test_a_dataset_is_renamed_and_noted_upon(client: httpx.Client, settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    path = f"/datasets/{dataset}"
    before = client.get(path).json()
    assert before["metadata"] == {}
    with db.read() as session:
        seen = session.get_one(Dataset, dataset).generation
    noted = {"source": "Ünï 📷", "nested": {"of": [1, 2.5, None, True]}}
    for change in ({"name": "Shoes"}, {"metadata": noted}, {}, {"name": None}, {"metadata": {"only": 1}, "name": "Boots"}):
        answer = client.patch(path, json=change)
        before |= {name: value for name, value in change.items() if value is not None}
        assert (answer.status_code, answer.json()) == (200, before)
        assert client.get(path).json() == before
    with db.read() as session:
        assert session.get_one(Dataset, dataset).generation == seen, "a search's answers do not depend on it"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"name": ""}', "name"),
        (b'{"name": " \\t"}', "name"),
        (b'{"name": "%s"}' % (b"x" * 201), "name"),
        (b'{"name": 7}', "name"),
        (b'{"name": "a\\u0000b"}', "NUL"),
        (b'{"name": "\\ud800"}', "JSON"),
        (b'{"metadata": []}', "metadata"),
        (b'{"metadata": {"a": NaN}}', "JSON"),
        (b'{"metadata": {"a": 1e999}}', ""),
        (b'{"metadata": {"a": "\\u0000"}}', "NUL"),
        (b'{"images": 7}', "images"),
        (b'{"status": "ready"}', "status"),
        (b"[]", "body"),
        (b"", "JSON"),
    ],
)
def test_a_bad_change_changes_nothing(client: httpx.Client, db: Database, content: bytes, words: str) -> None:
    (dataset,) = made(db, 1)
    before = client.get(f"/datasets/{dataset}").json()
    answer = client.patch(f"/datasets/{dataset}", content=content, headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert words in answer.json()["detail"]
    assert client.get(f"/datasets/{dataset}").json() == before
    assert client.patch("/datasets/ds_none", json={"name": "a"}).json()["code"] == "dataset_not_found"


def test_metadata_comes_with_an_upload(client: httpx.Client, settings: Settings) -> None:
    file = {"file": ("a.zip", pictures(2))}
    answer = client.post("/datasets", files=file, data={"metadata": '{"camera": "Ünï", "run": 7}'})
    assert (answer.status_code, answer.json()["metadata"]) == (202, {"camera": "Ünï", "run": 7})
    assert client.get("/datasets").json()["data"] == [answer.json()]
    for wrong in ("[1]", "7", "{", '{"a": "\\u0000"}', '{"a": NaN}'):
        answer = client.post("/datasets", files=file, data={"metadata": wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_request"), wrong
    assert len(client.get("/datasets").json()["data"]) == 1
    assert len(list(settings.layout.uploads.iterdir())) == 1, "what was refused leaves nothing"


def test_metadata_comes_with_a_folder(settings: Settings, db: Database) -> None:
    roots = settings.layout.ensure("photographs")
    with serving(settings.model_copy(update={"import_roots": str(roots)}), db) as client:
        answer = client.post("/datasets", json={"uri": str(roots), "metadata": {"year": 2026}})
        assert (answer.status_code, answer.json()["metadata"]) == (202, {"year": 2026})


def test_datasets_of_before_have_no_notes(settings: Settings) -> None:
    from alembic import command

    config = migrate.config(settings.database)
    settings.layout.ensure(".")
    command.upgrade(config, "0008")
    with Database(settings.database) as db:
        columns = "id, name, status, labels, images, rejected, duplicates, classes, bytes, generation, created_at"
        with db.write() as session:
            values = "'test', 'ready', 'none', 0, 0, 0, 0, 0, 0, '2026-01-01 00:00:00.000000'"
            for id_ in ("ds_b", "ds_a"):
                session.connection().exec_driver_sql(f"INSERT INTO datasets ({columns}) VALUES ('{id_}', {values})")
        command.upgrade(config, "head")
        with serving(settings, db) as client:
            assert [(row["id"], row["metadata"]) for row in listed(client, "/datasets", 1)] == [("ds_a", {}), ("ds_b", {})]


def test_a_page_is_short_where_much_is_noted_with_its_rows(client: httpx.Client, db: Database) -> None:
    ids = made(db, 12)
    note = {"notes": ["x" * 100] * 4000}
    with db.write() as session:
        session.execute(update(Dataset).values(dataset_metadata=note))
        session.execute(update(Job).values(job_metadata=note))
    for path in ("/datasets", "/jobs"):
        first = client.get(path, params={"limit": 1000})
        assert len(first.content) < 2 << 20 and 1 <= len(first.json()["data"]) < 6
        rows = listed(client, path, 1000)
        assert [row.get("dataset_id", row["id"]) for row in rows] == ids
