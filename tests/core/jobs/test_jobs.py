"""The job protocol, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from core.errors import JobNotFound, JobOver, StaleAttempt
from core.ground import reports
from core.jobs import lifecycle, protocol, reporting, scheduling
from core.jobs.protocol import Claim
from core.jobs.sweep import Sweep
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Dataset, Job, JobEvent, Metric
from tests.core.jobs.reported import PROGRESS, STARTED, epoch


def make_dataset(db: Database, id_: str = "ds_1", status: DatasetStatus = DatasetStatus.READY) -> str:
    with db.write() as session:
        session.add(Dataset(id=id_, name="n", status=status, labels="none", created_at=now()))
    return id_


def make_job(db: Database, dataset: str = "ds_1", kind: JobKind = JobKind.TRAIN, evaluation: str | None = None) -> str:
    with db.write() as session:
        return lifecycle.create(session, kind, dataset, evaluation_dataset_id=evaluation).id


def status_of(db: Database, job: str) -> str:
    with db.read() as session:
        return lifecycle.get(session, job).status


def claimed(db: Database, queue: Queue = Queue.TRAINING) -> Claim:
    owner = protocol.claim(db, queue, "w")
    assert owner is not None
    return owner


def test_oldest_job_first_and_each_once(db: Database) -> None:
    make_dataset(db)
    first, second = make_job(db), make_job(db)
    assert [claimed(db).job_id, claimed(db).job_id] == [first, second]
    assert protocol.claim(db, Queue.TRAINING, "w") is None


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


def test_training_waits_for_both_datasets(db: Database) -> None:
    make_dataset(db, "ds_1", DatasetStatus.VALIDATING)
    make_dataset(db, "ds_2", DatasetStatus.VALIDATING)
    make_job(db, "ds_1", evaluation="ds_2")
    for ready in ("ds_1", "ds_2"):
        assert protocol.claim(db, Queue.TRAINING, "w") is None
        with db.write() as session:
            session.execute(update(Dataset).where(Dataset.id == ready).values(status=DatasetStatus.READY))
    assert protocol.claim(db, Queue.TRAINING, "w") is not None


def end(db: Database, owner: Claim) -> None:
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)


def test_one_job_at_a_time_changes_a_dataset(db: Database) -> None:
    make_dataset(db, "ds_1")
    make_dataset(db, "ds_2")
    expected = {make_job(db, dataset, kind) for dataset in ("ds_1", "ds_2") for kind in scheduling.WRITERS * 2}
    running: dict[str, int] = {"ds_1": 0, "ds_2": 0}

    def drain(name: str) -> list[str]:
        mine = []
        while len(mine) < len(expected) and (protocol.waiting(db, Queue.TASKS) or any(running.values())):
            if owner := protocol.claim(db, Queue.TASKS, name):
                with db.read() as session:
                    dataset = lifecycle.get(session, owner.job_id).dataset_id
                running[dataset] += 1
                assert running[dataset] == 1
                running[dataset] -= 1
                end(db, owner)
                mine.append(owner.job_id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [job for part in pool.map(drain, "abcd") for job in part]
    assert len(taken) == len(expected) and set(taken) == expected


def test_training_waits_for_what_was_uploaded_before_it(db: Database) -> None:
    make_dataset(db)
    before, train, after = make_job(db, kind=JobKind.INGEST), make_job(db), make_job(db, kind=JobKind.INGEST)
    assert protocol.claim(db, Queue.TRAINING, "w") is None
    owner = claimed(db, Queue.TASKS)
    assert owner.job_id == before
    assert protocol.claim(db, Queue.TRAINING, "w") is None
    end(db, owner)
    assert claimed(db).job_id == train
    assert claimed(db, Queue.TASKS).job_id == after


def test_compaction_waits_for_training_that_has_begun(db: Database) -> None:
    make_dataset(db, "ds_1")
    make_dataset(db, "ds_2")
    make_job(db, "ds_2", evaluation="ds_1")
    compact = make_job(db, kind=JobKind.COMPACT)
    training = claimed(db)
    assert protocol.claim(db, Queue.TASKS, "w") is None
    protocol.release(db, training)  # it resumes, with the list of images that it has
    assert protocol.claim(db, Queue.TASKS, "w") is None
    end(db, claimed(db))
    assert claimed(db, Queue.TASKS).job_id == compact


def test_training_fails_with_its_dataset(db: Database) -> None:
    make_dataset(db, status=DatasetStatus.VALIDATING)
    train, ingest = make_job(db), make_job(db, kind=JobKind.INGEST)
    owner = claimed(db, Queue.TASKS)
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.FAILED, error={"code": "bad_archive", "message": "no"})
        lifecycle.fail_dataset(session, "ds_1", {"code": "bad_archive", "message": "no"})
    assert status_of(db, train) == JobStatus.FAILED
    assert status_of(db, ingest) == JobStatus.FAILED


def test_a_stale_owner_can_write_nothing(db: Database) -> None:
    make_dataset(db)
    make_job(db)
    stale = claimed(db)
    protocol.abandon(db, stale, "test")
    fresh = claimed(db)
    with pytest.raises(StaleAttempt):
        protocol.beat(db, stale)
    with pytest.raises(StaleAttempt):
        reporting.record_events(db, stale, [epoch(0, 0)], None)
    with pytest.raises(StaleAttempt), db.write() as session:
        protocol.finish(session, stale, JobStatus.SUCCEEDED)
    assert fresh.attempt == stale.attempt + 1
    with db.read() as session:
        assert session.scalars(select(Metric)).all() == []


def test_events_count_without_gaps_and_a_resume_repeats_nothing(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    first = claimed(db)
    unknown: reports.LabelFree = dict.fromkeys(reports.LabelFree.__annotations__)
    ends: list[reports.Event] = [
        {"type": "round", "round": 0, "rounds": 2, **unknown},
        {"type": "warning", "round": 0, "message": "collapsed"},
    ]
    reporting.record_events(db, first, [STARTED, epoch(0, 0), epoch(0, 1), *ends], PROGRESS)
    protocol.abandon(db, first, "test")
    second = claimed(db)
    reporting.record_events(db, second, [STARTED, epoch(0, 0), epoch(0, 1), *ends, epoch(1, 0)], None)
    with db.read() as session:
        rows = session.scalars(select(JobEvent).where(JobEvent.job_id == job).order_by(JobEvent.seq)).all()
        epochs = [(row.data["round"], row.data["epoch"]) for row in rows if row.type == "epoch"]
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert epochs == [(0, 0), (0, 1), (1, 0)]
        assert [row.type for row in rows].count("round") == 1
        assert [row.type for row in rows].count("warning") == 1
        assert len(session.scalars(select(Metric)).all()) == 3


def test_cancel_while_queued_is_immediate(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    with db.write() as session:
        assert lifecycle.request_cancel(session, job).status == JobStatus.CANCELLED
    assert protocol.claim(db, Queue.TRAINING, "w") is None


def test_cancel_while_running_reaches_the_owner_and_beats_success(db: Database) -> None:
    make_dataset(db)
    job = make_job(db)
    owner = claimed(db)
    assert not protocol.beat(db, owner)
    with db.write() as session:
        assert lifecycle.request_cancel(session, job).status == JobStatus.RUNNING
    assert protocol.beat(db, owner)
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


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_the_sweep_takes_only_what_is_silent(db: Database) -> None:
    make_dataset(db)
    silent_job, lively_job = make_job(db), make_job(db)
    claimed(db)
    lively = claimed(db)
    clock = Clock()
    sweep = Sweep(db, 30.0, clock)
    assert sweep.run(Queue.TRAINING) == []
    lost: list[str] = []
    for _ in range(3):
        clock.time += 10
        protocol.beat(db, lively)
        lost = sweep.run(Queue.TRAINING)
    assert lost == [silent_job]
    assert status_of(db, silent_job) == JobStatus.QUEUED
    assert status_of(db, lively_job) == JobStatus.RUNNING


def test_after_a_gap_in_looking_owners_get_time_to_beat(db: Database) -> None:
    make_dataset(db)
    make_job(db)
    claimed(db)
    clock = Clock()
    sweep = Sweep(db, 30.0, clock)
    sweep.run(Queue.TRAINING)
    clock.time += 300  # the database was away, for the owner as well
    assert sweep.run(Queue.TRAINING) == []


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
        protocol.beat(db, owner, mark=f"r00-e{number:05}-s000000")
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
