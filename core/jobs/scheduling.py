"""Scheduling: the queue of each kind of job, and which kinds wait for others on the same dataset."""

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import Session, aliased

from core.jobs.uses import SHARD_READERS, is_reading_shards
from core.store.kinds import UNFINISHED, DatasetStatus, JobKind, JobStatus, Queue
from core.store.tables import Dataset, Job

QUEUE_OF = {kind: Queue.TRAINING if kind in SHARD_READERS else Queue.TASKS for kind in JobKind}
WRITERS = (JobKind.INGEST, JobKind.EMBED, JobKind.COMPACT)  # change a dataset, so that only one of them runs on it at a time


def claimable_jobs(queue: Queue) -> Select[str, int, str, str | None, str | None]:
    """The query for id, attempt, kind and request id of the jobs of a queue that may be claimed now, the oldest first."""
    judged, other = aliased(Dataset), aliased(Job)
    earlier = (other.dataset_id == Job.dataset_id) & (other.seq < Job.seq)
    uploads = (other.kind == JobKind.INGEST) & other.status.in_(UNFINISHED) & earlier
    writing = other.kind.in_(WRITERS) & (other.status == JobStatus.RUNNING) & (other.dataset_id == Job.dataset_id)
    return (
        select(Job.id, Job.attempt, Job.kind, Job.request_id, Job.trace)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(judged, judged.id == Job.evaluation_dataset_id)
        .where(
            Job.queue == queue,
            Job.status == JobStatus.QUEUED,
            (Job.kind != JobKind.TRAIN) | ((Dataset.status == DatasetStatus.READY) & ~exists().where(uploads)),
            Job.kind.not_in(WRITERS) | ~exists().where(writing),
            (Job.kind != JobKind.COMPACT) | ~exists().where(is_reading_shards(Job.dataset_id, other)),
            Job.evaluation_dataset_id.is_(None) | (judged.status == DatasetStatus.READY),
        )
        .order_by(Job.seq)
    )


def has_no_other_writer(session: Session, free: ColumnElement[bool]) -> bool:
    """Whether no running job changes the dataset of a job that is about to be claimed. Both rows stay locked until the
    transaction ends, so that no other claim on the dataset is decided meanwhile.

    The function does not wait for the dataset's row: ``fail_dataset`` locks that row first and then the jobs', in the opposite
    order, so that waiting could deadlock.

    Args:
        free: the condition that selects the job, while nobody has claimed it.
    """
    dataset_id = session.scalar(select(Job.dataset_id).where(free).with_for_update())
    locked = select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(skip_locked=True)
    if session.scalar(locked) is None:
        return False
    running = select(Job.id).where(Job.dataset_id == dataset_id, Job.kind.in_(WRITERS), Job.status == JobStatus.RUNNING)
    return session.scalar(running.limit(1)) is None
