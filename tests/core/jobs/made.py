"""Rows of datasets and jobs, made up."""

from core.jobs import lifecycle, protocol
from core.jobs.protocol import Claim
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, Queue
from core.store.tables import Dataset


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
