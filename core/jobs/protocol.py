"""The job protocol of workers: claim, heartbeat, finish, release, each one conditional UPDATE.

The job's row decides; the broker only wakes workers. Every write of an owner names its attempt and must change exactly one row;
an owner that lost the job gets ``StaleAttempt`` and stops.
"""

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Update, func, select, update
from sqlalchemy.orm import Session

from core.errors import StaleAttempt
from core.jobs import events
from core.jobs.events import Event, JobError
from core.jobs.lifecycle import CANCELLED_UPLOAD, end_unowned, ended, get
from core.jobs.scheduling import WRITERS, claimable_jobs, has_no_other_writer
from core.store.columns import now
from core.store.db import Database, changes_one
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Job

FRUITLESS_LIMIT = 3
WORKER_LOST = "worker_lost"
_RETRY_SECONDS = 0.05  # between attempts at a dataset that another job is changing


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, good for one attempt."""

    job_id: str
    attempt: int
    kind: JobKind
    request_id: str | None = None  # of the request that made the job
    trace: str | None = None  # its traceparent


def claim(db: Database, queue: Queue, worker: str) -> Claim | None:
    """Take the oldest claimable job of a queue.

    Training waits until its datasets are ready and what was uploaded to them before is validated; of the jobs that change
    a dataset one runs at a time, and ``compact`` waits for jobs that read shards by their names.
    """
    while True:
        with db.read() as session:
            row = session.execute(claimable_jobs(queue).limit(1)).first()
        if row is None:
            return None
        job_id, attempt, kind, request_id, trace = row
        with db.write() as session:
            free = (Job.id == job_id) & (Job.attempt == attempt) & (Job.status == JobStatus.QUEUED)
            alone = kind not in WRITERS or has_no_other_writer(session, free)
            values = {
                "status": JobStatus.RUNNING,
                "attempt": Job.attempt + 1,
                "heartbeat": Job.heartbeat + 1,
                "worker": worker,
                "mark_at_claim": Job.mark,
                "started_at": func.coalesce(Job.started_at, now()),
            }
            if alone and changes_one(session, update(Job).where(free).values(values)):
                events.append(session, job_id, [Event("running", {"attempt": attempt + 1})])
                return Claim(job_id, attempt + 1, JobKind(kind), request_id, trace)
        if not alone:
            time.sleep(_RETRY_SECONDS)


def has_claimable_job(db: Database, queue: Queue) -> bool:
    """Whether a job of the queue could be claimed now."""
    with db.read() as session:
        return session.execute(claimable_jobs(queue).limit(1)).first() is not None


def _owned(owner: Claim) -> Update:
    return update(Job).where(Job.id == owner.job_id, Job.attempt == owner.attempt, Job.status == JobStatus.RUNNING)


def update_owned(session: Session, owner: Claim, **values: object) -> None:
    """Write to the job's row as its owner; without values, only make sure of the ownership for this transaction.

    Raises:
        StaleAttempt: the attempt is over.
    """
    if not changes_one(session, _owned(owner).values(values or {"attempt": owner.attempt})):
        raise StaleAttempt(f"attempt {owner.attempt} no longer owns {owner.job_id}")


def send_heartbeat(db: Database, owner: Claim, mark: str | None = None) -> bool:
    """Show that the owner is alive, and store the name of its newest checkpoint if there is one.

    Returns:
        Whether the job was asked to cancel.
    """
    with db.write_passing() as session:
        update_owned(session, owner, heartbeat=Job.heartbeat + 1, **({"mark": mark} if mark else {}))
        return bool(session.scalar(select(Job.cancel_requested).where(Job.id == owner.job_id)))


def publish(session: Session, owner: Claim, model_id: str) -> None:
    """The model of a training is there; the job goes on, and has succeeded however it ends (``lifecycle.ended``). Refused, as
    ``StaleAttempt``, once a cancel was asked for."""
    if not changes_one(session, _owned(owner).where(Job.cancel_requested.is_(False)).values(model_id=model_id)):
        raise StaleAttempt(f"attempt {owner.attempt} cannot publish a model of {owner.job_id}")
    events.append(session, owner.job_id, [Event("published", {"model_id": model_id})])


def finish(session: Session, owner: Claim, status: JobStatus, *, error: JobError | None = None, **values: object) -> None:
    """End the owned job. Success is refused, as ``StaleAttempt``, once a cancel was asked for."""
    owned = _owned(owner)
    if status is JobStatus.SUCCEEDED:
        owned = owned.where(Job.cancel_requested.is_(False))
    else:
        status = ended(get(session, owner.job_id), status)
    if not changes_one(session, owned.values(status=status, error=error, finished_at=now(), **values)):
        raise StaleAttempt(f"attempt {owner.attempt} cannot end {owner.job_id}")
    events.append(session, owner.job_id, [Event(status, error or {})])


def release(db: Database, owner: Claim) -> None:
    """Put the job back into its queue, for a worker that is shutting down; this does not count as a lost attempt."""
    with db.write() as session:
        update_owned(session, owner, status=JobStatus.QUEUED, worker=None)
        events.append(session, owner.job_id, [Event("queued", {"reason": "its worker is shutting down"})])


def abandon(db: Database, owner: Claim, reason: str) -> None:
    """End an attempt whose process was ended from outside. The job runs again, unless that happened too often without
    progress."""
    with db.write() as session:
        if not requeue(session, owner.job_id, Job.attempt == owner.attempt, reason):
            raise StaleAttempt(f"attempt {owner.attempt} no longer owns {owner.job_id}")


def requeue(session: Session, job_id: str, condition: ColumnElement[bool], reason: str) -> bool:
    """Requeue a running job if the condition holds; end it instead where a cancel was asked for or too many attempts were lost.

    Returns:
        Whether the condition held.
    """
    job = get(session, job_id)
    fruitless = job.fruitless + 1 if job.mark == job.mark_at_claim else 0
    error: JobError | None = None
    event = Event("queued", {"reason": reason})
    values: dict[str, object] = {"status": JobStatus.QUEUED, "worker": None, "fruitless": fruitless}
    if job.cancel_requested:
        status = ended(job, JobStatus.CANCELLED)
        values |= {"status": status, "finished_at": now()}
        event = Event(status)
    elif fruitless >= FRUITLESS_LIMIT:
        error = {"code": WORKER_LOST, "message": f"given up after {fruitless} attempts without progress: {reason}"}
        status = ended(job, JobStatus.FAILED)
        values |= {"status": status, "finished_at": now(), "error": error}
        event = Event(status, error)
    running = update(Job).where(Job.id == job_id, Job.status == JobStatus.RUNNING, condition)
    if not changes_one(session, running.values(values)):
        return False
    events.append(session, job_id, [event])
    if event.type != "queued":
        end_unowned(session, job, error or CANCELLED_UPLOAD)
    return True
