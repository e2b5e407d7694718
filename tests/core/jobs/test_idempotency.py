"""One key, one job, on SQLite and PostgreSQL, from many threads at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.collections import datasets
from core.errors import KeyReused
from core.jobs import lifecycle
from core.jobs.idempotency import job_once
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Job


@pytest.fixture
def dataset(db: Database) -> str:
    id_ = datasets.new_dataset_id()
    with db.write() as session:
        datasets.create(session, id_, "test", "none", 1)
    return id_


def test_a_key_makes_one_job_whoever_asks_how_often(db: Database, dataset: str) -> None:
    def make(session: Session) -> Job:
        return lifecycle.create(session, JobKind.TRAIN, dataset)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: job_once(db, "key", {"a": 1}, make), range(16)))
    assert len({job.id for job, _ in found}) == 1
    assert sum(new for _, new in found) == 1
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Job).where(Job.kind == JobKind.TRAIN)) == 1
    with pytest.raises(KeyReused, match="with another request"):
        job_once(db, "key", {"a": 2}, make)
    assert job_once(db, "another", {"a": 1}, make)[1]
    assert job_once(db, None, {"a": 1}, make)[0].id != job_once(db, None, {"a": 1}, make)[0].id


def test_a_request_that_fails_leaves_its_key_free(db: Database, dataset: str) -> None:
    def fail(session: Session) -> Job:
        lifecycle.create(session, JobKind.TRAIN, dataset)
        raise ValueError("our own")

    with pytest.raises(ValueError, match="own"):
        job_once(db, "key", {}, fail)
    assert job_once(db, "key", {}, lambda session: lifecycle.create(session, JobKind.TRAIN, dataset))[1]
