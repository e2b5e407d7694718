"""What ``GET /neighbours`` and ``GET /classify`` answer before the routes is exactly what the routes answer."""

import asyncio
import random
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from benchmarks.service import synthetic
from core.collections import datasets
from core.settings import Settings
from core.store import migrate
from core.store.db import Database
from core.store.tables import Deletion, Label
from service.app import create_app
from service.middleware.plain_searches import PlainQuery, PlainSearches, parsed
from tests.service.serving import serving

COUNT = 1500
UNUSUAL = (
    "",
    "k=10",
    "image_id=",
    "image_id=x",
    "image_id=-1",
    "image_id=999999",
    "image_id=99999999999999999999",
    "image_id=1&image_id=2",
    "image_id=1&k=0",
    "image_id=1&k=1001",
    "image_id=1&k=5.5",
    "image_id=1&k=",
    "image_id=1&offset=-1",
    "image_id=1&offset=10001",
    "image_id=1&kk=3",
    "image_id=1&dataset_id=ds_nobody",
    "image_id=1&dataset_id=",
    "image_id=1&model_id=mdl_nobody",
    "image_id=1&model_id=mdl_made&dataset_id=ds_other",
    "image_id=01",
    "image_id=1&k=010",
    "image_id=1&",
    "image_id=1&label=x",
    "image_id=1&min_score=0.9",
    "image_id=1&path_prefix=synthetic",
)


def both_ways(client: httpx.Client, query: str, path: str = "/neighbours") -> tuple[httpx.Response, httpx.Response]:
    """A query as it is, and with a letter of each name written as ``%XX``, which only the route reads."""
    route = re.sub(r"(^|&)(\w)", lambda found: f"{found[1]}%{ord(found[2]):02X}", query)
    assert parsed(route.encode()) is None
    return client.get(f"{path}?{query}"), client.get(f"{path}?{route}")


def seen(response: httpx.Response) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """All that a client gets but the request's id and the milliseconds that it took."""
    headers = [pair for pair in response.headers.raw if pair[0] not in (b"x-request-id", b"date", b"content-length")]
    return response.status_code, re.sub(rb'"took_ms":[\d.]+', b'"took_ms":0', response.content), headers


@pytest.fixture(params=["flat", "hnsw"])
def client(request: pytest.FixtureRequest, settings: Settings, db: Database) -> Iterator[httpx.Client]:
    vectors = synthetic.clustered(COUNT, 16, 30)
    vectors[40:140] = vectors[40]  # more equal ones than the first look finds
    synthetic.publish(db, settings, vectors, "made", request.param)
    synthetic.publish(db, settings, vectors[:50], "other")
    with serving(settings, db) as client:
        ids = [row["id"] for row in client.get("/datasets/ds_made/images?limit=1000").json()["data"]]
        client.headers["first-id"] = str(min(ids))
        yield client


def first_id(client: httpx.Client) -> int:
    return int(client.headers["first-id"])


def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What is answered before the routes from now on; ``None`` for each plain question that is left to them all the same."""
    answers: list[bytes | None] = []
    body = PlainSearches._body

    def recorded(*args: Any) -> bytes | None:
        answers.append(body(*args))
        return answers[-1]

    monkeypatch.setattr(PlainSearches, "_body", recorded)
    return answers


def label(db: Database, first: int) -> None:
    """A label for each of the first hundred images but every fourth."""
    with db.write() as session:
        session.add_all(Label(image_id=first + row, label=f"class {row % 3}") for row in range(100) if row % 4)
        session.flush()
        datasets.update_and_invalidate(session, "ds_made", labels=True)


def test_both_ways_give_the_same_bytes(client: httpx.Client, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rng = first_id(client), random.Random(0)
    client.get(f"/neighbours?image_id={first}")  # opens the model
    answered = taken(monkeypatch)
    queries = [f"image_id={first + rng.randrange(COUNT)}" for _ in range(40)]
    queries += [f"image_id={first + rng.randrange(COUNT)}&k={rng.choice((1, 3, 10, 11, 30, 60, 100))}" for _ in range(60)]
    queries += [
        f"k={rng.randrange(1, 80)}&offset={rng.randrange(100)}&image_id={first + rng.randrange(COUNT)}" for _ in range(60)
    ]
    queries += [f"image_id={first + rng.randrange(COUNT)}&dataset_id=ds_made" for _ in range(10)]
    queries += [f"model_id=mdl_made&image_id={first + rng.randrange(COUNT)}" for _ in range(10)]
    queries += [f"image_id={first + rng.randrange(40, 140)}&k={k}" for k in (1, 10, 50, 99, 100)]
    for query in queries:
        plain, route = both_ways(client, query)
        assert seen(plain) == seen(route), query
    assert sum(found is not None for found in answered) >= 120
    assert any(found is None for found in answered)


def test_both_ways_vote_alike(client: httpx.Client, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rng = first_id(client), random.Random(0)
    answered = taken(monkeypatch)
    unlabelled = both_ways(client, f"image_id={first}", "/classify")
    assert seen(unlabelled[0]) == seen(unlabelled[1])
    label(db, first)
    client.get(f"/neighbours?image_id={first}")
    queries = [f"image_id={first + rng.randrange(COUNT)}" for _ in range(30)]
    queries += [f"image_id={first + rng.randrange(COUNT)}&k={rng.randrange(1, 200)}" for _ in range(60)]
    queries += [f"image_id={first + row}&model_id=mdl_made&dataset_id=ds_made&k=5" for row in range(10)]
    queries += [f"image_id={first}&{more}" for more in ("offset=1", "k=0", "k=201", "k=x", "temperature=0.5", "min_confidence=1")]
    for query in queries:
        plain, route = both_ways(client, query, "/classify")
        assert seen(plain) == seen(route), query
    assert sum(found is not None for found in answered) >= 100
    assert plain.json()["voters"]


def test_what_is_unusual_or_wrong_is_left_to_the_route(client: httpx.Client) -> None:
    client.get(f"/neighbours?image_id={first_id(client)}")
    for query in UNUSUAL:
        query = re.sub(r"image_id=1\b", f"image_id={first_id(client)}", query)
        plain, route = both_ways(client, query)
        assert seen(plain) == seen(route), query


def test_labels_deletions_and_the_figures_are_those_of_the_route(
    client: httpx.Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = first_id(client)
    query = f"image_id={first}&k=5"
    before = client.get(f"/neighbours?{query}").json()["neighbours"]
    with db.write() as session:
        session.add(Label(image_id=before[0]["image_id"], label="named"))
        session.flush()
        datasets.update_and_invalidate(session, "ds_made", labels=True)
    for _ in range(2):  # the first opens the snapshot anew, the second finds it
        plain, route = both_ways(client, query)
        assert seen(plain) == seen(route)
        assert plain.json()["neighbours"][0]["label"] == "named"
    with db.write() as session:
        session.add(Deletion(dataset_id="ds_made", image_id=before[0]["image_id"]))
        datasets.update_and_invalidate(session, "ds_made")
    for _ in range(2):
        plain, route = both_ways(client, query)
        assert seen(plain) == seen(route)
        assert [one["image_id"] for one in plain.json()["neighbours"]][:4] == [one["image_id"] for one in before[1:]]
    assert client.head(f"/neighbours?{query}").status_code == 200
    counted = re.findall(r'anchorhood_http_requests_total{.*route="/neighbours".*} ([\d.]+)', client.get("/metrics").text)
    assert sum(map(float, counted)) == 10


async def asked_at_once(app: FastAPI, times: int) -> list[int]:
    """How many of many requests that come at one time have been answered by each turn of the event loop."""
    scope = {"type": "http", "method": "GET", "path": "/neighbours", "raw_path": b"/neighbours", "query_string": b"image_id=1"}
    scope |= {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http"}
    answered: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    await app(dict(scope), receive, send)  # opens the model
    answered.clear()
    tasks = [asyncio.create_task(app(dict(scope), receive, send)) for _ in range(times)]
    counts = [0]
    while len(answered) < times:
        await asyncio.sleep(0)
        counts.append(len(answered))
    await asyncio.gather(*tasks)
    assert set(answered) == {200}
    return counts


def test_many_at_one_time_leave_the_loop_to_others(settings: Settings) -> None:
    settings = settings.model_copy(update={"max_requests": 100})
    migrate.upgrade(settings.database)
    with Database(settings.database) as db:
        synthetic.publish(db, settings, synthetic.clustered(100, 16, 30), "made")
    counts = asyncio.run(asked_at_once(create_app(settings), 25))
    assert max(after - before for before, after in pairwise(counts)) <= 4


def test_only_a_plain_query_is_taken() -> None:
    assert parsed(b"image_id=7") == PlainQuery(7, None, None, None, None)
    assert parsed(b"model_id=mdl_1&k=3&image_id=0&offset=9&dataset_id=ds_1") == PlainQuery(0, 3, 9, "ds_1", "mdl_1")
    for query in (b"image_id=7&k=201", b"image_id=7&offset=201", b"image_id=7&label=a", b"image_id=7&k=1&k=2", b"image_id=+7"):
        assert parsed(query) is None
