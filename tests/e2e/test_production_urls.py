"""The same system on PostgreSQL and Redis: only URLs change."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from core.jobs.bell import Bell, make_app
from core.settings import Settings
from core.store.kinds import Queue
from tests.conftest import picture_zip
from tests.live import Live
from tests.servers import Redis


@pytest.fixture
def database_url() -> Iterator[str]:
    url = make_url(os.environ["TEST_DATABASE_URL"])
    name = f"anchorhood_{uuid.uuid4().hex[:12]}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def broker_url() -> Iterator[str]:
    url = os.environ["TEST_BROKER_URL"]
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.mark.postgres
@pytest.mark.redis
def test_train_and_search(database_url: str, broker_url: str, tmp_path: Path) -> None:
    live = Live(tmp_path / "data", database_url=database_url, broker_url=broker_url).start()
    try:
        dataset = live.upload(picture_zip(tmp_path / "pictures.zip", 32))
        with redis.Redis.from_url(broker_url) as client:
            client.flushdb()  # a lost message must not lose a job
        job = live.finished(live.train(dataset))
        assert job["status"] == "succeeded", job
        image = live.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["id"]
        assert len(live.get(f"/neighbours?image_id={image}&k=5")["neighbours"]) == 5
        assert live.get(f"/classify?image_id={image}")["label"] in ("class-0", "class-1")
        assert not (tmp_path / "data" / "anchorhood.sqlite3").exists()
    finally:
        live.close()


@pytest.mark.redis
def test_rings_do_not_pile_up(broker_url: str) -> None:
    bell = Bell(make_app(Settings(broker_url=broker_url)))
    with redis.Redis.from_url(broker_url) as client:
        for _ in range(3):
            bell.ring_if_silent(Queue.TRAINING)
        assert client.llen(Queue.TRAINING) == 1
        bell.ring(Queue.TRAINING)
        assert client.llen(Queue.TRAINING) == 2


@pytest.mark.redis
def test_a_broker_without_room_fails_no_request() -> None:
    server = Redis()
    try:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(redis.RedisError):
                client.lpush("x", "y")
        bell = Bell(make_app(Settings(broker_url=server.url)))
        bell.ring(Queue.TASKS)
        bell.ring_if_silent(Queue.TASKS)
    finally:
        server.close()


def test_an_absent_broker_fails_no_request(tmp_path: Path) -> None:
    bell = Bell(make_app(Settings(broker_url=f"redis+socket://{tmp_path}/none.sock?virtual_host=0")))
    bell.ring(Queue.TASKS)
    bell.ring_if_silent(Queue.TASKS)
