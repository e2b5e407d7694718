"""What is seen of the service from outside: request ids, and metrics that name routes and not paths."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, update

from core.ground.reports import JobProgress
from core.jobs import lifecycle, protocol, reporting
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Job
from tests.conftest import image_bytes
from tests.core.jobs.reported import PROGRESS, STARTED, epoch
from tests.published import Published
from tests.service.serving import copy, pictures, ready_dataset, serving

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(client: httpx.Client) -> Figures:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def of(found: Figures, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.fixture
def client(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


def test_a_well_formed_request_id_is_kept_and_another_one_replaced(client: httpx.Client) -> None:
    for given in ("a", "A-z.0_9", "x" * 64):
        assert client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    made = set()
    for given in ("ah_0123456789ab_" + "x" * 43, "x" * 65, "a b", "é".encode().decode("latin-1"), 'a"b', "{}"):
        answer = client.get("/healthz", headers={"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]
        made.add(answer.headers["x-request-id"])
    made.add(client.get("/healthz").headers["x-request-id"])
    assert len(made) == 7
    assert all(re.fullmatch("[0-9a-f]{16}", id_) for id_ in made)


def test_every_answer_names_its_request_whatever_its_status(client: httpx.Client) -> None:
    asked = [("GET", "/datasets/ds_none", 404), ("GET", "/nowhere", 404), ("PATCH", "/jobs", 405), ("GET", "/jobs/%00", 422)]
    for method, path, status in asked:
        answer = client.request(method, path, headers={"X-Request-ID": "mine"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine")
    answer = client.get("/datasets", headers={"X-Request-ID": "mine", "Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (403, "mine")


def test_jobs_remember_their_request(client: httpx.Client, db: Database) -> None:
    answer = client.post("/datasets", files={"file": ("a.zip", pictures(2))}, headers={"X-Request-ID": "upload-7"})
    assert answer.status_code == 202
    with db.read() as session:
        assert session.scalars(select(Job.request_id)).all() == ["upload-7"]


def test_requests_are_counted_by_route_and_never_by_path(client: httpx.Client) -> None:
    for path in ("/datasets/ds_1", "/datasets/ds_2", "/datasets", "/nowhere/1", "/nowhere/2", "/docs"):
        client.get(path)
    client.request("PROPFIND", "/jobs/job_1")
    found = figures(client)
    total = "anchorhood_http_requests_total"
    assert of(found, total, method="GET", route="/datasets/{dataset_id}", status="404") == 2
    assert of(found, total, method="GET", route="/datasets", status="200") == 1
    assert of(found, total, method="GET", route="unmatched", status="404") == 2
    assert of(found, total, method="GET", route="/docs", status="200") == 1
    assert of(found, total, method="other", route="/jobs/{job_id}", status="405") == 1
    assert of(found, "anchorhood_http_request_seconds_count", method="GET", route="/datasets/{dataset_id}") == 2
    assert "ds_1" not in client.get("/metrics").text
    assert "nowhere" not in client.get("/metrics").text


def test_jobs_queues_and_training_come_from_the_database(client: httpx.Client, settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        running, _ = (lifecycle.create(session, JobKind.TRAIN, dataset) for _ in range(2))
    with db.write() as session:
        session.execute(update(Job).where(Job.id == running.id).values(created_at=running.created_at.replace(year=2020)))
    found = figures(client)
    assert of(found, "anchorhood_queue_depth", queue="training") == 2
    assert of(found, "anchorhood_queue_oldest_seconds", queue="training") > 365 * 24 * 3600
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None
    reporting.record_events(db, owner, [STARTED], PROGRESS)
    assert not any(name == "anchorhood_training_loss" for name, _ in figures(client))  # no epoch has ended yet
    progress: JobProgress = {**PROGRESS, "loss": 6.5, "images_per_second": 321.0}
    reporting.record_events(db, owner, [epoch(0, 1, 6.5, 321.0)], progress)
    found = figures(client)
    assert of(found, "anchorhood_jobs", kind="train", status="running") == 1
    assert of(found, "anchorhood_jobs", kind="train", status="queued") == 1
    assert of(found, "anchorhood_jobs", kind="ingest", status="succeeded") == 1
    assert of(found, "anchorhood_jobs", kind="compact", status="failed") == 0
    assert of(found, "anchorhood_queue_depth", queue="training") == 1
    assert 0 <= of(found, "anchorhood_queue_oldest_seconds", queue="training") < 3600
    assert of(found, "anchorhood_queue_oldest_seconds", queue="tasks") == 0
    assert of(found, "anchorhood_training_loss", job_id=owner.job_id) == 6.5
    assert of(found, "anchorhood_training_images_per_second", job_id=owner.job_id) == 321
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.FAILED, error={"code": "x", "message": "y"})
    assert not any(name == "anchorhood_training_loss" for name, _ in figures(client))


@pytest.mark.slow
def test_indexes_and_query_encoding(published: Published, settings: Settings, db: Database) -> None:
    copy(published, settings, db)
    with serving(settings, db) as client:
        for seed in range(3):
            answer = client.post("/neighbours", files={"file": ("a.png", image_bytes(900 + seed))}, data={"k": "2"})
            assert answer.status_code == 200, answer.text
        assert client.post("/neighbours", files={"file": ("a.png", b"no image")}).status_code == 422
        found = figures(client)
    job = published.job
    index = settings.root / "models" / f"{job['id']}-{job['attempt']}" / "index.faiss"
    assert of(found, "anchorhood_models") == 1
    assert of(found, "anchorhood_index_vectors") == 32
    assert of(found, "anchorhood_index_bytes") == index.stat().st_size
    assert of(found, "anchorhood_query_encode_seconds_count") == 3
    assert of(found, "anchorhood_query_encode_seconds_sum") > 0


def test_every_metric_is_documented(client: httpx.Client) -> None:
    text = OPERATIONS.read_text()
    names = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert len(names) >= 12
    for name in names:
        assert re.search(rf"\| `{name}(_total|_info)?`", text), f"docs/operations.md lacks {name}"
