"""What happens to jobs without an owner: they are created, looked up, and cancelled or failed while they wait."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.errors import JobNotFound, JobOver
from core.ground import logs, traces
from core.jobs import events
from core.jobs.events import Event, JobError
from core.jobs.scheduling import QUEUE_OF
from core.jobs.uses import works_on
from core.store.columns import new_id, now
from core.store.db import changes_one
from core.store.kinds import UNFINISHED, DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Job

CANCELLED_UPLOAD: JobError = {"code": "cancelled", "message": "the validation of the upload was cancelled"}


def create(
    session: Session,
    kind: JobKind,
    dataset_id: str,
    *,
    params: dict[str, Any] | None = None,
    evaluation_dataset_id: str | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    continues: str | None = None,
) -> Job:
    """Insert a queued job; ring its queue after the commit."""
    job = Job(
        id=new_id("job"),
        kind=kind,
        queue=QUEUE_OF[kind],
        dataset_id=dataset_id,
        evaluation_dataset_id=evaluation_dataset_id,
        status=JobStatus.QUEUED,
        name=name,
        request_id=logs.context_fields().get("request_id"),
        trace=traces.current(),
        params=params or {},
        job_metadata=metadata or {},
        continues=continues,
        created_at=now(),
    )
    session.add(job)
    session.flush()
    events.append(session, job.id, [Event("queued")])
    return job


def get(session: Session, job_id: str) -> Job:
    """The job of an id.

    Raises:
        JobNotFound: there is none.
    """
    job = session.scalar(select(Job).where(Job.id == job_id))
    if job is None:
        raise JobNotFound(job_id)
    return job


def makes_dataset(job: Job) -> bool:
    """Whether the job is the first validation of a dataset, which fails with it; later validations only add images."""
    return job.kind == JobKind.INGEST and not job.params.get("adds")


def ended(job: Job, status: JobStatus) -> JobStatus:
    """What a job that ends with a status is called: a training whose model is published has succeeded, whatever became of judging
    it."""
    return JobStatus.SUCCEEDED if job.kind == JobKind.TRAIN and job.model_id else status


def request_cancel(session: Session, job_id: str) -> tuple[Job, bool]:
    """Cancel a queued job at once, ask the owner of a running one to stop; cancelling twice is fine.

    Returns:
        The job, and whether this was the first time that somebody asked.

    Raises:
        JobNotFound: no such job.
        JobOver: it already succeeded or failed.
    """
    unfinished = update(Job).where(Job.id == job_id, Job.status.in_(UNFINISHED))
    unasked = unfinished.where(Job.cancel_requested.is_(False))
    new = changes_one(session, unasked.values(cancel_requested=True))
    if not new:  # lock the row all the same, so that its status cannot change
        changes_one(session, unfinished.values(cancel_requested=True))
    job = get(session, job_id)
    status = ended(job, JobStatus.CANCELLED)
    queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
    if changes_one(session, queued.values(status=status, finished_at=now())):
        events.append(session, job_id, [Event(status)])
        session.refresh(job)
        end_unowned(session, job, CANCELLED_UPLOAD)
        return job, new
    if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        raise JobOver(f"{job_id} already {job.status}")
    return job, new


def fail_dataset(session: Session, dataset_id: str, error: JobError) -> None:
    """Mark a dataset as unusable, and fail every queued job that needs it."""
    failed = {"status": DatasetStatus.FAILED, "error": error}
    session.execute(update(Dataset).where(Dataset.id == dataset_id).values(failed))
    for job_id in session.scalars(select(Job.id).where(works_on(dataset_id), Job.status == JobStatus.QUEUED)).all():
        fail_queued(session, job_id, error)


def fail_queued(session: Session, job_id: str, error: JobError) -> None:
    """End a job without success while it waits; one that was claimed meanwhile goes on."""
    status = ended(get(session, job_id), JobStatus.FAILED)
    queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
    if changes_one(session, queued.values(status=status, error=error, finished_at=now())):
        events.append(session, job_id, [Event(status, error)])


def end_unowned(session: Session, job: Job, error: JobError) -> None:
    """Clean up after an upload's validation that ended without an owner: fail the dataset that it was to make, or create a
    compaction that removes the images added so far."""
    if makes_dataset(job):
        fail_dataset(session, job.dataset_id, error)
    elif job.kind == JobKind.INGEST and job.attempt:
        create(session, JobKind.COMPACT, job.dataset_id)
