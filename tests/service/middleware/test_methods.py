"""HEAD is GET without a body, a wrong method is refused by naming the right ones, a slash too many is forgiven: on every path."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from core.settings import Settings
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope
from core.store.tables import Image, Job
from service.openapi import document
from tests.published import Published
from tests.service.serving import copy, ready_dataset, serving

PATHS: dict[str, Any] = json.loads(document())["paths"]
VARYING = {"date", "x-request-id"}


@pytest.fixture
def client(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


def same(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """HEAD's answer, which but for the body is GET's."""
    got, head = client.get(path, headers=headers), client.head(path, headers=headers)
    assert head.status_code == got.status_code, path
    assert head.content == b""
    expected = {name: value for name, value in got.headers.items() if name not in VARYING}
    if "took_ms" in got.text or path == "/metrics":  # of a length that varies
        del expected["content-length"]
    if path.endswith("/embeddings"):  # made anew
        expected.pop("last-modified", None)
    assert expected.items() <= head.headers.items() | {("transfer-encoding", "chunked")}, path
    return head


@pytest.mark.parametrize("path", [path for path, methods in PATHS.items() if "get" in methods])
def test_head_of_what_is_not_there_is_as_get(client: httpx.Client, path: str) -> None:
    assert same(client, re.sub(r"{\w+}", "1", path)).headers["x-request-id"]


@pytest.mark.slow
def test_head_of_everything_there_is(published: Published, settings: Settings, db: Database) -> None:
    copy(published, settings, db)
    with db.read() as session:
        image = session.scalars(select(Image.id).where(Image.dataset_id == published.dataset)).first()
    real = {"dataset_id": published.dataset, "job_id": published.job["id"], "model_id": published.job["model_id"]}
    real |= {"image_id": image, "name": "encoder.onnx"}
    answers = {}
    with serving(settings, db) as client:
        for path, methods in PATHS.items():
            if "get" in methods:
                named = re.sub(r"{(\w+)}", lambda found: str(real.get(found[1], 0)), path)
                answers[path] = same(client, named + (f"?image_id={image}" if path in ("/neighbours", "/classify") else ""))
        csv = same(client, f"/models/{real['model_id']}/embeddings?format=csv")
    missing = {path for path, answer in answers.items() if answer.status_code != 200}
    not_computed = {"/jobs/{job_id}/classifications", "/images/{image_id}/attention", "/images/{image_id}/attention/{round}"}
    assert missing <= not_computed
    for path in ("/images/{image_id}/file", "/images/{image_id}/thumbnail", "/models/{model_id}/files/{name}"):
        assert answers[path].headers["etag"]
        assert int(answers[path].headers["content-length"]) > 100
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"


def test_head_of_a_file_reads_none(client: httpx.Client, settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    image = client.get(f"/datasets/{dataset}/images").json()["data"][0]["id"]
    there = same(client, f"/images/{image}/file")
    for shard in (settings.root / "datasets" / dataset).rglob("*.tar"):
        shard.unlink()
    gone = client.head(f"/images/{image}/file")
    assert (gone.status_code, gone.headers["content-length"]) == (200, there.headers["content-length"])


def test_head_of_a_stream_ends_at_once(client: httpx.Client, settings: Settings, db: Database) -> None:
    ready_dataset(db, settings)
    with db.write() as session:
        session.execute(update(Job).values(status="running"))  # for ever
        job = session.scalars(select(Job.id)).one()
    answer = client.head(f"/jobs/{job}/events", headers={"Accept": "text/event-stream"}, timeout=20)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_head_of_the_pages_files(client: httpx.Client) -> None:
    for path in ("/", "/page/app.js", "/docs", "/openapi.json"):
        assert int(same(client, path).headers["content-length"]) > 100
    tag = client.head("/page/app.js").headers["etag"]
    assert same(client, "/page/app.js", **{"If-None-Match": tag}).status_code == 304


def test_head_needs_the_key_that_get_needs_and_is_counted(client: httpx.Client, db: Database) -> None:
    text = keys.generate()
    client.head("/datasets/ds_1")
    with db.write() as session:
        keys.add(session, "monitor", Scope.READ, text)
    assert same(client, "/healthz").status_code == 200
    time.sleep(1.1)  # until which that none is needed is remembered
    assert client.head("/datasets").status_code == 401
    bearer = {"Authorization": f"Bearer {text}"}
    assert client.head("/datasets", headers=bearer).status_code == 200
    assert client.patch("/datasets/ds_1", json={}, headers=bearer).status_code == 403
    counted = client.get("/metrics", headers=bearer).text
    assert 'requests_total{method="HEAD",route="/datasets/{dataset_id}",status="404"} 1.0' in counted


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_method_is_told_the_right_ones(client: httpx.Client, path: str) -> None:
    named = re.sub(r"{\w+}", "1", path)
    fitting = [known for known in PATHS if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), named)]  # /jobs/{id} for /jobs/check
    right = {method.upper() for known in fitting for method in PATHS[known]}
    right |= {"HEAD"} if "GET" in right else set()
    for method in {"OPTIONS", "PATCH", "PUT", "TRACE", "PROPFIND"} - right:
        answer = client.request(method, named)
        assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json"), (method, path)
        assert set(answer.headers["allow"].split(", ")) == right
        assert answer.json()["code"] == "http_405"
        assert all(name in answer.json()["detail"] for name in right)


def test_a_slash_too_many_leads_to_the_path_without(client: httpx.Client) -> None:
    for path, to in (
        ("/datasets/", "../datasets"),
        ("/jobs/job_%C3%A9/?a=1&b=%2F", "../job_%C3%A9?a=1&b=%2F"),
        ("/docs/", "../docs"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, to)
        assert str(answer.next_request.url) == str(client.base_url.join(path.replace("/?", "?").removesuffix("/")))  # type: ignore[union-attr]
    for path in ("/nothing/", "/datasets//", "//evil.example/", "/datasets/ds_1/nothing/"):
        raw = http.client.HTTPConnection(client.base_url.host, client.base_url.port)  # type: ignore[arg-type]
        raw.request("GET", path)
        assert raw.getresponse().status == 404, path
        raw.close()
