"""What happens to a job over HTTP: its events as pages and as a stream, its progress, its figures."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
from sqlalchemy import update

from core.jobs import lifecycle, protocol, reporting
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Job, Metric
from tests.core.jobs.reported import PROGRESS, epoch
from tests.service.answers import problem
from tests.service.serving import ready_dataset

STREAM = {"Accept": "text/event-stream"}


def test_a_stream_of_a_job_that_is_over_is_not_connected_to_again(api: httpx.Client, db: Database, dataset: str) -> None:
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
        lifecycle.request_cancel(session, job)
    text = api.get(f"/jobs/{job}/events", headers=STREAM).text
    last = text.rpartition("id: ")[2].partition("\n")[0]
    again = api.get(f"/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": last})
    assert (again.status_code, again.content) == (204, b"")
    earlier = api.get(f"/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": str(int(last) - 1)})
    assert earlier.text.startswith(f"id: {last}\n")
    assert api.get(f"/jobs/{job}/events", headers={"Last-Event-ID": last}).json()["data"] != []
    assert api.get(f"/jobs/{job}/events?after={2**31 - 1}").json()["data"] == []
    problem(api.get(f"/jobs/{job}/events?after={2**31}"), 422, "bad_cursor")


def test_the_end_of_a_training_is_counted_from_when_its_progress_was_told(api: httpx.Client, db: Database, dataset: str) -> None:
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None
    assert api.get(f"/jobs/{job}").json()["estimated_finish"] is None
    reporting.record_events(db, owner, [epoch(0, 0)], {**PROGRESS, "eta_seconds": 600.0})
    told = datetime.now(UTC) - timedelta(seconds=60)
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job).values(progress={"eta_seconds": 600.0, "told_at": told.isoformat()}))
    expected = told + timedelta(seconds=600)
    for body in (api.get(f"/jobs/{job}").json(), api.get("/jobs?kind=train").json()["data"][0]):
        assert datetime.fromisoformat(body["estimated_finish"]) == expected
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job).values(status=JobStatus.SUCCEEDED))
    assert api.get(f"/jobs/{job}").json()["estimated_finish"] is None


def test_progress_is_told_in_the_row_and_in_the_stream_and_never_as_an_event(
    api: httpx.Client, db: Database, settings: Settings
) -> None:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None
    before = api.get(f"/jobs/{job}/events").json()["data"]
    seen: list[dict[str, Any]] = []
    with api.stream("GET", f"/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as response:
        reporting.record_progress(db, owner, {"phase": "preparing", "phase_fraction": 0.5, "fraction": 0.01, "eta_seconds": 60.0})
        kind = ""
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            kind = value if name == "event" else kind
            assert not (name == "id" and kind == "progress")
            if name == "data" and kind == "progress":
                seen.append(json.loads(value))
                if len(seen) == 2:
                    break
                reporting.record_progress(
                    db, owner, {"phase": "training", "phase_fraction": 0.1, "fraction": 0.2, "eta_seconds": 50.0}
                )
    assert [told["phase"] for told in seen] == ["preparing", "training"]
    body = api.get(f"/jobs/{job}").json()
    assert (body["progress"]["phase"], body["progress"]["fraction"]) == ("training", 0.2)
    assert body["estimated_finish"] is not None
    assert api.get(f"/jobs/{job}/events").json()["data"] == before


def test_many_metrics_are_thinned_evenly(api: httpx.Client, db: Database, dataset: str) -> None:
    figures = {"loss": 1.0, "learning_rate": 0.1, "images_per_second": 5.0, "anchors": 0.0}
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
        session.add_all(Metric(job_id=job, round=number // 100, epoch=number % 100, **figures) for number in range(301))
    for points in (2, 7, 300, 301, 400):
        rows = api.get(f"/jobs/{job}/metrics?points={points}").json()["data"]
        at = [row["round"] * 100 + row["epoch"] for row in rows]
        steps = {after - before for before, after in pairwise(at)}
        assert (len(at), at[0], at[-1]) == (min(points, 301), 0, 300)
        assert max(steps) - min(steps) <= 1
