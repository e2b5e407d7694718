"""What clients may send, on SQLite and PostgreSQL: bad texts, long bodies, archives with a job, lists, events."""

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from core.errors import TooLarge
from core.jobs import lifecycle
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind
from service.middleware.limits import Limits
from tests.published import Published
from tests.service.answers import JSON, problem
from tests.service.serving import pictures, ready_dataset

HALF = b'"\\ud800"'  # half of a character, which UTF-8 cannot hold


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_image_bytes": 1000, "max_upload_bytes": 1 << 20})


def form(request: dict[str, object], content: bytes | None = None) -> dict[str, Any]:
    """A multipart request with an archive."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in request.items()}
    return {"data": texts, "files": {"file": ("pictures.zip", content or pictures(3))}}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/jobs", b'{"dataset_id": "%s", "metadata": {"a": ' + HALF + b"}}"),
        ("POST", "/jobs", b'{"dataset_id": "%s", "metadata": {' + HALF + b": 1}}"),
        ("POST", "/jobs", b'{"dataset_id": "%s", "name": ' + HALF + b"}"),
        ("POST", "/jobs", b'{"dataset_id": "%s", "metadata": {"a": 1e999}}'),
        ("POST", "/jobs", b'{"dataset_id": ' + HALF + b"}"),
        ("POST", "/jobs", b'{"dataset_id": "\\u0000"}'),
        ("POST", "/jobs", b'{"dataset_id": "%s", ' + HALF + b": 1}"),
        ("POST", "/jobs", b'{"dataset_id": "%s", "metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"),
        ("POST", "/datasets", b'{"uri": ' + HALF + b"}"),
        ("POST", "/neighbours", b'{"dataset_id": ' + HALF + b', "image_ids": [1]}'),
        ("POST", "/neighbours", b'{"model_id": "\\u0000", "image_ids": [1]}'),
        ("POST", "/datasets/%s/classifications", b'{"model_id": ' + HALF + b"}"),
        ("POST", "/datasets/%s/classifications", b'{"model_id": "\\u0000"}'),
        ("POST", "/datasets/%s/deletions", b"{" + HALF + b": 1}"),
        ("PUT", "/datasets/%s/model", b'{"model_id": ' + HALF + b"}"),
        ("PUT", "/datasets/%s/model", b'{"model_id": "\\u0000"}'),
        ("PUT", "/datasets/%s/labels", b'[{"image_id": 1' + b"0" * 30 + b', "label": "a"}]'),
        ("PUT", "/datasets/%s/labels", b'[{"image_id": 1e999, "label": "a"}]'),
        ("PUT", "/datasets/%s/labels", b'[{"path": ' + HALF + b', "label": "a"}]'),
        ("PUT", "/datasets/%s/labels", b'[{"path": "a", "label": ' + HALF + b"}]"),
        ("PUT", "/datasets/%s/labels", b'[{"path": "\\u0000", "label": "a"}]'),
        ("PUT", "/datasets/%s/labels", b"[" * 100_000 + b"]" * 100_000),
        ("GET", "/datasets/%s/images?label=%%00", b""),
        ("GET", "/datasets/%s/images?label=%%ff", b""),
        ("GET", "/datasets?after=%%00", b""),
        ("GET", "/models?after=%%00", b""),
        ("GET", "/jobs?after=%%00", b""),
        ("GET", "/datasets/%%00", b""),
        ("GET", "/models/%%ff", b""),
        ("GET", "/neighbours?image_id=1&dataset_id=%%00", b""),
    ],
)
def test_texts_that_no_database_holds_are_refused(
    api: httpx.Client, dataset: str, method: str, path: str, content: bytes
) -> None:
    path, content = path.replace("%s", dataset).replace("%%", "%"), content.replace(b"%s", dataset.encode())
    answer = api.request(method, path, content=content, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.get("/jobs").status_code == 200


def test_a_backslash_before_u0000_is_no_nul(api: httpx.Client, dataset: str) -> None:
    answer = api.post("/neighbours", content=b'{"dataset_id": "\\\\u0000", "image_ids": [1]}', headers=JSON)
    problem(answer, 404, "dataset_not_found")
    job = api.post("/jobs", json={"dataset_id": dataset, "metadata": {"pattern": "\\u0000"}})
    assert api.get(f"/jobs/{job.json()['id']}").json()["metadata"] == {"pattern": "\\u0000"}


def test_bodies_that_are_too_long_are_refused_before_they_are_read(api: httpx.Client, dataset: str) -> None:
    def parts(count: int) -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\nPK\x03\x04'
        for _ in range(count):
            yield bytes(1 << 20)

    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    for path, kind, size in (
        ("/neighbours", multipart, 66),
        ("/classify", multipart, 66),
        (f"/datasets/{dataset}/deletions", JSON, 66),
        (f"/datasets/{dataset}/labels", JSON, 66),
        ("/jobs", JSON, 3),
        ("/datasets", multipart, 3),
        (f"/datasets/{dataset}/images", multipart, 3),
    ):
        method = "PUT" if path.endswith("labels") else "POST"
        problem(api.request(method, path, content=parts(size), headers=kind), 413, "too_large")
        told = {**kind, "Content-Length": str((size << 20) + 74)}
        problem(api.request(method, path, content=parts(size), headers=told), 413, "too_large")


def test_an_archive_and_its_job_in_one_call(api: httpx.Client, settings: Settings) -> None:
    asked = {"params": {"preset": "quick", "seed": 3}, "name": "both", "metadata": {"a": [1]}, "labels": "folders"}
    answer = api.post("/jobs", **form(asked))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["kind"], job["name"], job["params"], job["metadata"]) == ("train", "both", asked["params"], asked["metadata"])
    dataset = api.get(f"/datasets/{job['dataset_id']}").json()
    assert (dataset["name"], dataset["status"], dataset["bytes"]) == ("both", "validating", len(pictures(3)))
    assert [entry["kind"] for entry in api.get("/jobs").json()["data"]] == ["ingest", "train"]
    assert [path.name for path in settings.layout.uploads.iterdir()] == [dataset["id"]]
    assert api.get(f"/datasets/{api.post('/jobs', **form({})).json()['dataset_id']}").json()["name"] == "pictures.zip"


@pytest.mark.parametrize(
    ("request_", "content", "words"),
    [
        ({"params": {"rounds": 99}}, None, "params.rounds"),
        ({"params": "{"}, None, "not JSON"),
        ({"params": '{"init": "\\ud800"}'}, None, "not JSON"),
        ({"params": {"crop_scale": [1, 0.2]}}, None, "crop_scale"),
        ({"labels": "colours"}, None, "none, folders"),
        ({"colour": "red"}, None, "colour"),
        ({"name": "a\0b"}, None, "name"),
        ({"dataset_id": "ds_1"}, None, "dataset_id"),
        ({"evaluation_dataset_id": "ds_none"}, None, "ds_none"),
        ({}, b"text", "not a zip"),
    ],
)
def test_nothing_is_kept_of_a_bad_archive_or_a_bad_job(
    api: httpx.Client, settings: Settings, request_: dict[str, object], content: bytes | None, words: str
) -> None:
    answer = api.post("/jobs", **form(request_, content))
    assert answer.status_code in (404, 422), answer.text
    assert words in answer.json()["detail"]
    assert api.get("/datasets").json()["data"] == api.get("/jobs").json()["data"] == []
    assert list(settings.layout.uploads.iterdir()) == []


def test_the_same_key_makes_no_second_dataset(api: httpx.Client, settings: Settings) -> None:
    key = {"Idempotency-Key": "once"}
    first, again = (api.post("/jobs", **form({"params": {"seed": 1}}), headers=key) for _ in range(2))
    assert again.json()["id"] == first.json()["id"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert [entry["id"] for entry in api.get("/datasets").json()["data"]] == [first.json()["dataset_id"]]
    for other in (form({"params": {"seed": 2}}), form({"params": {"seed": 1}}, pictures(4)), form({"labels": "folders"})):
        problem(api.post("/jobs", **other, headers=key), 409, "idempotency_key_reused")
    assert [path.name for path in settings.layout.uploads.iterdir()] == [first.json()["dataset_id"]]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"crop_scale": [1, 0.2]}, "1.0 is larger than 0.2"),
        ({"init": "imagenet", "backbone": "resnet10"}, "resnet10"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused_at_once(
    api: httpx.Client, dataset: str, params: dict[str, object], words: str
) -> None:
    assert words in problem(api.post("/jobs", json={"dataset_id": dataset, "params": params}), 422, "bad_request")
    fitting = {"crop_scale": [0.2, 0.2], "init": "imagenet", "preset": "quick", "epochs_first": 0}
    assert api.post("/jobs", json={"dataset_id": dataset, "params": fitting}).status_code == 202


def test_jobs_are_chosen_by_status_and_dataset_and_come_in_both_orders(
    api: httpx.Client, db: Database, settings: Settings, dataset: str
) -> None:
    with db.write() as session:
        ids = [lifecycle.create(session, JobKind.TRAIN, dataset).id for _ in range(3)]
    other = ready_dataset(db, settings, pictures(3))
    with db.write() as session:
        ids.append(lifecycle.create(session, JobKind.TRAIN, other).id)
        lifecycle.request_cancel(session, ids[1])

    def found(**asked: object) -> list[str]:
        seen: list[str] = []
        page: dict[str, Any] = {"next": None}
        while not seen or page["next"]:
            after = {"after": page["next"]} if page["next"] else {}
            page = api.get("/jobs", params={"kind": "train", "limit": 2, **asked, **after}).json()  # type: ignore[dict-item]
            seen += [job["id"] for job in page["data"]]
        return seen

    assert found() == ids
    assert found(order="newest") == ids[::-1]
    assert found(dataset_id=dataset, order="newest") == ids[2::-1]
    assert found(status="cancelled") == [ids[1]]
    assert found(status="queued", dataset_id=dataset) == [ids[0], ids[2]]
    problem(api.get("/jobs?status=lost"), 422, "bad_request")


def test_a_body_that_stops_coming_is_given_up() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except TooLarge:
            await Response(status_code=500)(scope, receive, send)

    async def never() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/datasets", "raw_path": b"/datasets", "query_string": b""}
    scope["headers"] = [(b"transfer-encoding", b"chunked")]
    with ThreadPoolExecutor(1) as thread:  # Playwright leaves a loop running in that of the tests
        thread.submit(asyncio.run, Limits(app, Settings(), idle_seconds=0.05)(scope, never, send)).result()
    assert sent[0]["status"] == 408


def test_headers_that_never_end_end_the_connection(published: Published) -> None:
    with socket.create_connection(("127.0.0.1", published.live.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(b"a" * (64 << 20))
    assert published.live.get("/healthz")["status"] == "ok"


def test_many_requests_on_one_connection_have_no_such_limit(published: Published) -> None:
    for _ in range(30):
        assert published.live.client.get("/healthz", headers={"X-Long": "a" * 8000}).status_code == 200
