"""Bodies within their length that would take far more memory than their bytes, and answers that would echo them."""

import io
import json

import httpx
import pytest

from tests.conftest import image_bytes
from tests.service.answers import JSON, problem

NAMES = b"{" + b",".join(b'"%x":0' % number for number in range(6000)) + b"}"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/neighbours", b'{"label":[' + b"0," * 500_000 + b"0]}"),
        ("POST", "/neighbours", b'{"vector":[' + b'"",' * 4000 + b'""]}'),
        ("POST", "/neighbours", b'{"queries":[' + b",".join([b'{"vector":[' + b'"",' * 4000 + b'""]}'] * 256) + b"]}"),
        ("POST", "/neighbours", NAMES),
        ("POST", "/neighbours", b'{"strategy":"' + b"x" * 1_000_000 + b'","positive":[1]}'),
        ("POST", "/neighbours", b'{"dataset_id":"' + b"x" * 1_000_000 + b'","positive":[1]}'),
        ("POST", "/jobs", NAMES[:-1] + b"," + NAMES[1:]),
        ("POST", "/jobs", b'{"dataset_id":"d","params":' + NAMES + b"}"),
        ("POST", "/jobs/check", b'{"params":' + NAMES + b"}"),
        ("POST", "/datasets/ds_1/classifications", NAMES),
        ("POST", "/datasets/ds_1/deletions", b'{"image_ids":[' + b'"",' * 9000 + b'""]}'),
        ("PATCH", "/datasets/ds_1", NAMES),
    ],
    ids=map(str, range(12)),
)
def test_an_answer_about_a_long_body_is_short(api: httpx.Client, method: str, path: str, body: bytes) -> None:
    answer = api.request(method, path, content=body, headers=JSON)
    assert answer.status_code in (404, 409, 422), answer.text[:1000]
    assert len(answer.content) < 30_000


def test_the_first_errors_are_named_and_the_others_counted(api: httpx.Client) -> None:
    wrong = {"queries": [{"positive": [1], "k": 0} for _ in range(30)]}
    answer = api.post("/neighbours", json=wrong)
    detail = problem(answer, 422, "bad_request")
    assert [item["where"] for item in answer.json()["errors"]] == [f"body.queries.{number}.k" for number in range(20)]
    assert detail.endswith("; and 10 more")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 3 + b"{}," * 400_000 + b"{}]",
        b'{"x":[' + b"0," * 700_000 + b"0]}",
        b'{"x":"' + "ü".encode() * (2 << 20 | 1) + b'"}',
    ],
    ids=("objects", "values", "wide"),
)
def test_a_body_that_takes_more_memory_than_any_query_needs_is_refused(api: httpx.Client, body: bytes) -> None:
    assert "more than" in problem(api.post("/neighbours", content=body, headers=JSON), 422, "bad_request")


def test_as_many_vectors_as_a_batch_may_have_are_read(api: httpx.Client) -> None:
    body = {"queries": [{"vector": [-0.12345678901234567] * 2048}] * 256, "dataset_id": "ds_none"}
    content = json.dumps(body).encode()
    assert len(content) > 11 << 20
    problem(api.post("/neighbours", content=content, headers=JSON), 404, "dataset_not_found")


@pytest.mark.parametrize("path", ["/datasets", "/jobs", "/datasets/{dataset}/images", "/neighbours", "/classify"])
def test_a_form_has_few_parts(api: httpx.Client, dataset: str, path: str) -> None:
    many = [(f"{number:0>3000}", (None, b"")) for number in range(300)]
    answer = api.post(path.format(dataset=dataset), files=[*many, ("file", ("1.png", io.BytesIO(image_bytes(1))))])
    assert answer.status_code in (400, 413)
    assert len(answer.content) < 2000
