"""The production system on servers of its own that are late, away, emptied, or told to stop."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import picture_zip
from tests.live import wait_for
from tests.servers import Postgres, Production, Redis

pytestmark = [pytest.mark.postgres, pytest.mark.redis]
API_SECONDS = 25  # from SIGTERM to the end of the API, requests included: README
WORKER_SECONDS = 45  # from SIGTERM to the end of a worker, its checkpoint included
AWAY_SECONDS = 20  # that a server is away; a silent worker loses its job after 4


@contextmanager
def production(folder: Path) -> Iterator[tuple[Production, Postgres, Redis]]:
    """Made, but not started; neither are the servers."""
    with ExitStack() as stack:
        postgres = stack.enter_context(closing(Postgres()))
        broker = stack.enter_context(closing(Redis()))
        system = Production(folder / "data", postgres.url, broker.url, checkpoint_seconds=0.5, device="cpu")
        yield stack.enter_context(closing(system)), postgres, broker


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Production, Postgres, Redis]]:
    """One system for all tests that leave it as well as they found it."""
    with production(tmp_path_factory.mktemp("servers")) as (system, postgres, broker):
        postgres.start()
        broker.start()
        system.migrate()
        system.start()
        yield system, postgres, broker


@pytest.fixture
def started(servers: tuple[Production, Postgres, Redis]) -> Production:
    assert servers[0].get("/readyz") == {"status": "ok", "missing": []}
    return servers[0]


@pytest.fixture
def postgres(servers: tuple[Production, Postgres, Redis]) -> Postgres:
    return servers[1]


@pytest.fixture
def broker(servers: tuple[Production, Postgres, Redis]) -> Redis:
    return servers[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return picture_zip(tmp_path / "pictures.zip", 100)


def require_one_success(system: Production, job_id: str) -> dict[str, Any]:
    job = system.finished(job_id, 240)
    assert job["status"] == "succeeded", job
    events = system.events(job_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events].count("succeeded") == 1
    return job


def both_workers_wait(broker: Redis) -> bool:
    """No message is left: a worker asks for the next only when its task is over, and ends up blocked in that question."""
    with redis.Redis.from_url(broker.url) as client:
        return sum(each["cmd"] == "brpop" and "b" in each["flags"] for each in client.client_list()) == 2


def in_training(system: Production, job: str) -> None:
    wait_for(lambda: any((system.data_dir / "runs" / job).glob("*/checkpoints/r*.pt")), "a checkpoint", 120)


def test_an_emptied_broker_loses_no_job(started: Production, broker: Redis, pictures: Path) -> None:
    dataset = started.upload(pictures)
    jobs = [started.train(dataset)]
    with redis.Redis.from_url(broker.url) as client:
        client.flushall()
    jobs.append(started.train(started.upload(picture_zip(pictures.with_name("more.zip"), 24, first=500))))
    with redis.Redis.from_url(broker.url) as client:
        client.flushall()
    for job in jobs:
        require_one_success(started, job)


def test_startup_in_any_order(tmp_path: Path, pictures: Path) -> None:
    """API and workers first, then the broker, then the database, then its tables: no process is started again."""
    with production(tmp_path) as (system, postgres, broker):
        system.start()
        not_ready = system.client.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["missing"]) == (503, ["database"])
        refused = system.client.post("/datasets", files={"file": pictures.read_bytes()})
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        broker.start()
        postgres.start()
        assert system.client.get("/readyz").status_code == 503
        system.migrate()
        wait_for(lambda: system.client.get("/readyz").status_code == 200, "the API to be ready", 20)
        assert system.get("/readyz") == {"status": "ok", "missing": []}
        require_one_success(system, system.train(system.upload(pictures)))
        assert all(service.process is not None and service.process.poll() is None for service in system.services)


def test_the_database_goes_away_and_comes_back(started: Production, postgres: Postgres, pictures: Path) -> None:
    """For five times the silence after which a worker's job is given to another."""
    job = started.train(started.upload(pictures), epochs_first=30, epochs=30)
    in_training(started, job)
    postgres.service.stop(signal.SIGKILL)
    gone = time.monotonic()
    assert started.client.get("/healthz").status_code == 200
    not_ready = started.client.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["missing"]) == (503, ["database"])
    for answer in (started.client.get(f"/jobs/{job}"), started.client.post("/jobs", json={"dataset_id": "ds_0"})):
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - gone)))
    postgres.start()
    wait_for(lambda: started.client.get("/readyz").status_code == 200, "the API to be ready", 20)
    require_one_success(started, job)


def test_the_broker_goes_away_and_comes_back(started: Production, broker: Redis, pictures: Path) -> None:
    dataset = started.upload(pictures)
    wait_for(lambda: both_workers_wait(broker), "the workers to hear what rang at the upload's end", 30)
    broker.service.stop(signal.SIGKILL)
    assert started.get("/readyz") == {"status": "degraded", "missing": ["broker"]}
    job = started.train(dataset)  # accepted, though nobody can be told
    time.sleep(AWAY_SECONDS)
    assert started.get("/readyz") == {"status": "degraded", "missing": ["broker"]}
    assert started.get(f"/jobs/{job}")["status"] == "queued"
    broker.start()
    wait_for(lambda: started.get("/readyz")["status"] == "ok", "the broker to be found", 20)
    require_one_success(started, job)


def test_sigterm_lets_the_api_end_its_requests(started: Production, pictures: Path) -> None:
    content = pictures.read_bytes()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="slow.zip"\r\n\r\n'

    def slowly() -> Iterator[bytes]:
        yield head
        for part in range(8):
            if part == 2:
                assert started.api.process is not None
                os.kill(started.api.process.pid, signal.SIGTERM)
            time.sleep(0.5)
            yield content[part * len(content) // 8 : (part + 1) * len(content) // 8]
        yield b"\r\n--b--\r\n"

    begin = time.monotonic()
    answer = started.client.post("/datasets", content=slowly(), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 202, answer.text
    assert started.api.process is not None
    assert started.api.process.wait(API_SECONDS - (time.monotonic() - begin)) == 0
    assert not started.alive()
    started.api.start()
    wait_for(started.alive, "the API", 60)
    wait_for(lambda: started.get(f"/datasets/{answer.json()['id']}")["status"] == "ready", "the validation", 60)
    assert started.get(f"/datasets/{answer.json()['id']}")["images"] == 100


def test_sigterm_makes_a_worker_hand_its_job_back(started: Production, pictures: Path) -> None:
    job = started.train(started.upload(pictures), epochs_first=60, epochs=30)
    in_training(started, job)
    training, tasks = started.workers
    for worker in (training, tasks):
        worker.stop(signal.SIGTERM, WORKER_SECONDS)
    found = started.get(f"/jobs/{job}")
    assert (found["status"], found["attempt"]) == ("queued", 1)
    last = started.events(job)[-1]
    assert (last["type"], last["data"]) == ("queued", {"reason": "its worker is shutting down"})
    assert not [command for command in started.processes().values() if "trainer" in command]
    training.start()
    tasks.start()
    assert require_one_success(started, job)["attempt"] == 2
    resumed = [event["data"]["resumed_at"] for event in started.events(job) if event["type"] == "started"]
    assert resumed[0] is None and resumed[1] is not None
