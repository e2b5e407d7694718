"""The job protocol, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from core.errors import StaleAttempt
from core.jobs import lifecycle, protocol, reporting
from core.store.db import Database
from core.store.kinds import JobStatus, Queue
from core.store.tables import Job, JobEvent, Metric
from tests.core.jobs.made import claimed, make_dataset, make_job, status_of
from tests.core.jobs.reported import epoch


def test_many_workers_claim_each_job_exactly_once(db: Database) -> None:
    make_dataset(db)
    expected = {make_job(db) for _ in range(24)}

    def drain(name: str) -> list[str]:
        mine = []
        while owner := protocol.claim(db, Queue.TRAINING, name):
            mine.append(owner.job_id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [job for part in pool.map(drain, "abcd") for job in part]
    assert len(taken) == 24
    assert set(taken) == expected


def test_a_stale_owner_can_write_nothing(db: Database) -> None:
    make_dataset(db)
    make_job(db)
    stale = claimed(db)
    protocol.abandon(db, stale, "test")
    fresh = claimed(db)
    with pytest.raises(StaleAttempt):
        protocol.send_heartbeat(db, stale)
    with pytest.raises(StaleAttempt):
        reporting.record_events(db, stale, [epoch(0, 0)], None)
    with pytest.raises(StaleAttempt), db.write() as session:
        protocol.finish(session, stale, JobStatus.SUCCEEDED)
    assert fresh.attempt == stale.attempt + 1
    with db.read() as session:
        assert session.scalars(select(Metric)).all() == []


def test_three_lost_attempts_without_progress_fail_the_job(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    for expected in (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED):
        protocol.abandon(db, claimed(db), "killed")
        assert status_of(db, job) == expected
    with db.read() as session:
        error = lifecycle.get(session, job).error
    assert error is not None
    assert error["code"] == "worker_lost"


def test_lost_attempts_with_progress_do_not_count(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    for number in range(6):
        owner = claimed(db)
        protocol.send_heartbeat(db, owner, mark=f"r00-e{number:05}-s000000")
        protocol.abandon(db, owner, "killed")
        assert status_of(db, job) == JobStatus.QUEUED


def test_a_released_job_keeps_its_tries(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    for _ in range(5):
        protocol.release(db, claimed(db))
    assert status_of(db, job) == JobStatus.QUEUED
    with db.read() as session:
        assert session.scalars(select(Job.fruitless)).one() == 0


def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    with db.write() as session:
        lifecycle.request_cancel(session, job)
    protocol.abandon(db, owner, "killed")
    assert status_of(db, job) == JobStatus.CANCELLED


@pytest.mark.parametrize("end", ["fails", "is lost", "is cancelled while it waits", "is lost when it was to be cancelled"])
def test_a_training_whose_model_is_published_has_succeeded_however_it_ends(db: Database, end: str) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    with db.write() as session:
        protocol.publish(session, owner, "mdl_1")
    if end == "fails":
        with db.write() as session:
            protocol.finish(session, owner, JobStatus.FAILED, error={"code": "internal_error", "message": "m"})
    elif end == "is lost":
        protocol.abandon(db, owner, "killed")
        for _ in range(2):
            assert status_of(db, job) == JobStatus.QUEUED
            protocol.abandon(db, claimed(db), "killed")
    elif end == "is cancelled while it waits":
        protocol.release(db, owner)
        with db.write() as session:
            assert lifecycle.request_cancel(session, job)[0].status == JobStatus.SUCCEEDED
    else:
        with db.write() as session:
            lifecycle.request_cancel(session, job)
        protocol.abandon(db, owner, "killed")
    with db.read() as session:
        now = lifecycle.get(session, job)
        types = session.scalars(select(JobEvent.type).where(JobEvent.job_id == job).order_by(JobEvent.seq)).all()
    assert (now.status, now.model_id, now.finished_at is not None) == (JobStatus.SUCCEEDED, "mdl_1", True)
    assert types[-1] == "succeeded" and not {"failed", "cancelled"} & set(types)
    assert (now.error is not None) == (end in ("fails", "is lost"))


def test_nothing_is_published_of_what_is_to_be_cancelled(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    with db.write() as session:
        lifecycle.request_cancel(session, job)
    with pytest.raises(StaleAttempt), db.write() as session:
        protocol.publish(session, owner, "mdl_1")
    with db.read() as session:
        assert lifecycle.get(session, job).model_id is None
