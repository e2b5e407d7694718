"""The jobs of silent workers, on SQLite and on PostgreSQL."""

from core.jobs import protocol
from core.jobs.sweep import Sweep
from core.store.db import Database
from core.store.kinds import JobStatus, Queue
from tests.core.jobs.made import claimed, make_dataset, make_job, status_of


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
        protocol.send_heartbeat(db, lively)
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
