"""Jobs that are cancelled, or fail while they wait, on SQLite and on PostgreSQL."""

import pytest

from core.errors import JobNotFound, JobOver, StaleAttempt
from core.jobs import lifecycle, protocol
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from tests.core.jobs.made import claimed, make_dataset, make_job, status_of


def test_training_fails_with_its_dataset(db: Database) -> None:
    make_dataset(db, status=DatasetStatus.VALIDATING)
    train, ingest = make_job(db), make_job(db, kind=JobKind.INGEST)
    owner = claimed(db, Queue.TASKS)
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.FAILED, error={"code": "bad_archive", "message": "no"})
        lifecycle.fail_dataset(session, "ds_1", {"code": "bad_archive", "message": "no"})
    assert status_of(db, train) == JobStatus.FAILED
    assert status_of(db, ingest) == JobStatus.FAILED


def test_cancel_while_queued_is_immediate(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    with db.write() as session:
        assert [lifecycle.request_cancel(session, job)[1] for _ in range(2)] == [True, False]
    assert status_of(db, job) == JobStatus.CANCELLED
    assert protocol.claim(db, Queue.TRAINING, "w") is None


def test_cancel_while_running_reaches_the_owner_and_beats_success(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    assert not protocol.send_heartbeat(db, owner)
    with db.write() as session:
        assert [lifecycle.request_cancel(session, job)[1] for _ in range(2)] == [True, False]
    assert status_of(db, job) == JobStatus.RUNNING
    assert protocol.send_heartbeat(db, owner)
    with pytest.raises(StaleAttempt), db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.CANCELLED)
    assert status_of(db, job) == JobStatus.CANCELLED


def test_cancel_of_what_is_over_or_unknown(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)
    with pytest.raises(JobOver), db.write() as session:
        lifecycle.request_cancel(session, job)
    with pytest.raises(JobNotFound), db.write() as session:
        lifecycle.request_cancel(session, "job_none")
