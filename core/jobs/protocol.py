"""The job protocol: claim, heartbeat, finish, release, cancel and sweep, each one conditional UPDATE.

The row is the truth and the broker only a doorbell. Every write of an owner carries its attempt and must change exactly
one row; a stale owner gets ``StaleAttempt`` and stops.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from core.errors import JobNotFound, JobOver, StaleAttempt
from core.ground import logs
from core.store.db import Database
from core.store.tables import Dataset, DatasetStatus, Job, JobEvent, JobKind, JobStatus, Metric, Queue, new_id, now

FRUITLESS_LIMIT = 3
WORKER_LOST = "worker_lost"
_RETRY_SECONDS = 0.05  # until a dataset that somebody else is changing is tried again
CANCELLED_UPLOAD = {"code": "cancelled", "message": "the validation of the upload was cancelled"}
READERS = (JobKind.TRAIN, JobKind.ATTENTION)  # run a child process that has torch and reads shards by their names
QUEUE_OF = {kind: Queue.TRAINING if kind in READERS else Queue.TASKS for kind in JobKind}
WRITERS = (JobKind.INGEST, JobKind.EMBED, JobKind.COMPACT)  # change a collection, so that one of them runs on it at a time

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)
_OF_ROUNDS = ("round", "warning")  # events of which a round has at most one; a resumed run tells them again

Event = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, good for one attempt."""

    job_id: str
    attempt: int
    kind: JobKind
    request_id: str | None = None  # of the request that made the job


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
        request_id=logs.about().get("request_id"),
        params=params or {},
        job_metadata=metadata or {},
        continues=continues,
        created_at=now(),
    )
    session.add(job)
    session.flush()
    append_events(session, job.id, [("queued", {})])
    return job


def get(session: Session, job_id: str) -> Job:
    """Raises ``JobNotFound``."""
    job = session.scalar(select(Job).where(Job.id == job_id))
    if job is None:
        raise JobNotFound(job_id)
    return job


def makes_dataset(job: Job) -> bool:
    """Whether a dataset stands or falls with this job, its first validation; later ones add to what is there."""
    return job.kind == JobKind.INGEST and not job.params.get("adds")


def unfinished(session: Session) -> Sequence[Job]:
    """Every job that is queued or running."""
    return session.scalars(select(Job).where(Job.status.in_(UNFINISHED))).all()


def begun_training(dataset_id: Any, job: Any = Job) -> Any:
    """The condition on a job that it has begun, is not over, and its child process reads shards of a dataset by their names."""
    reads = (job.dataset_id == dataset_id) | (job.evaluation_dataset_id == dataset_id)
    return job.kind.in_(READERS) & job.status.in_(UNFINISHED) & (job.attempt > 0) & reads


def claim(db: Database, queue: Queue, worker: str) -> Claim | None:
    """Take the oldest claimable job of a queue.

    Training waits until its datasets are ready and what was uploaded to them before is validated; of the jobs that change
    a dataset one runs at a time, and ``compact`` waits for jobs that read shards by their names.
    """
    while True:
        with db.read() as session:
            found = session.execute(_claimable(queue).limit(1)).first()
        if found is None:
            return None
        job_id, attempt, kind, request_id = found
        with db.write() as session:
            free = (Job.id == job_id) & (Job.attempt == attempt) & (Job.status == JobStatus.QUEUED)
            alone = kind not in WRITERS or _alone(session, free)
            values = {
                "status": JobStatus.RUNNING,
                "attempt": Job.attempt + 1,
                "heartbeat": Job.heartbeat + 1,
                "worker": worker,
                "mark_at_claim": Job.mark,
                "started_at": func.coalesce(Job.started_at, now()),
            }
            if alone and _changes_one(session, update(Job).where(free).values(values)):
                append_events(session, job_id, [("running", {"attempt": attempt + 1})])
                return Claim(job_id, attempt + 1, JobKind(kind), request_id)
        if not alone:
            time.sleep(_RETRY_SECONDS)


def _alone(session: Session, free: Any) -> bool:
    """Whether no running job changes the dataset of a free one; no other claim on that dataset can end before this transaction.

    The dataset's row is not waited for: failing it locks that row first and its jobs then, the other way round.
    """
    dataset_id = session.scalar(select(Job.dataset_id).where(free).with_for_update())
    locked = select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(skip_locked=True)
    if session.scalar(locked) is None:
        return False
    running = select(Job.id).where(Job.dataset_id == dataset_id, Job.kind.in_(WRITERS), Job.status == JobStatus.RUNNING)
    return session.scalar(running.limit(1)) is None


def waiting(db: Database, queue: Queue) -> bool:
    """Whether a job of the queue could be claimed now."""
    with db.read() as session:
        return session.execute(_claimable(queue).limit(1)).first() is not None


def _claimable(queue: Queue) -> Any:
    judged, other = aliased(Dataset), aliased(Job)
    earlier = (other.dataset_id == Job.dataset_id) & (other.seq < Job.seq)
    uploads = (other.kind == JobKind.INGEST) & other.status.in_(UNFINISHED) & earlier
    writing = other.kind.in_(WRITERS) & (other.status == JobStatus.RUNNING) & (other.dataset_id == Job.dataset_id)
    return (
        select(Job.id, Job.attempt, Job.kind, Job.request_id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .outerjoin(judged, judged.id == Job.evaluation_dataset_id)
        .where(
            Job.queue == queue,
            Job.status == JobStatus.QUEUED,
            (Job.kind != JobKind.TRAIN) | ((Dataset.status == DatasetStatus.READY) & ~exists().where(uploads)),
            Job.kind.not_in(WRITERS) | ~exists().where(writing),
            (Job.kind != JobKind.COMPACT) | ~exists().where(begun_training(Job.dataset_id, other)),
            Job.evaluation_dataset_id.is_(None) | (judged.status == DatasetStatus.READY),
        )
        .order_by(Job.seq)
    )


def own(session: Session, owner: Claim, **values: Any) -> None:
    """Write to the job as its owner; with no values, only make sure of the ownership for this transaction.

    Raises:
        StaleAttempt: the attempt is over.
    """
    mine = update(Job).where(Job.id == owner.job_id, Job.attempt == owner.attempt, Job.status == JobStatus.RUNNING)
    if not _changes_one(session, mine.values(values or {"attempt": owner.attempt})):
        raise StaleAttempt(f"attempt {owner.attempt} no longer owns {owner.job_id}")


def beat(db: Database, owner: Claim, mark: str | None = None) -> bool:
    """A sign of life, with the name of the newest checkpoint if there is one.

    Returns:
        Whether the job was asked to cancel.
    """
    with db.write() as session:
        own(session, owner, heartbeat=Job.heartbeat + 1, **({"mark": mark} if mark else {}))
        return bool(session.scalar(select(Job.cancel_requested).where(Job.id == owner.job_id)))


def finish(session: Session, owner: Claim, status: JobStatus, *, error: dict[str, str] | None = None, **values: Any) -> None:
    """End the owned job. Success is refused, as ``StaleAttempt``, once a cancel was asked for."""
    mine = update(Job).where(Job.id == owner.job_id, Job.attempt == owner.attempt, Job.status == JobStatus.RUNNING)
    if status is JobStatus.SUCCEEDED:
        mine = mine.where(Job.cancel_requested.is_(False))
    if not _changes_one(session, mine.values(status=status, error=error, finished_at=now(), **values)):
        raise StaleAttempt(f"attempt {owner.attempt} cannot end {owner.job_id}")
    append_events(session, owner.job_id, [(status, error or {})])


def release(db: Database, owner: Claim) -> None:
    """Hand the job back, for a worker that is shutting down; costs nothing of its tries."""
    with db.write() as session:
        own(session, owner, status=JobStatus.QUEUED, worker=None)
        append_events(session, owner.job_id, [("queued", {"reason": "its worker is shutting down"})])


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel a queued job at once, ask the owner of a running one to stop; cancelling twice is fine.

    Raises:
        JobNotFound: no such job.
        JobOver: it already succeeded or failed.
    """
    unfinished = update(Job).where(Job.id == job_id, Job.status.in_(UNFINISHED))
    _changes_one(session, unfinished.values(cancel_requested=True))  # holds the row: its status stays what it is now
    queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
    if _changes_one(session, queued.values(status=JobStatus.CANCELLED, finished_at=now())):
        append_events(session, job_id, [("cancelled", {})])
        _ended_unowned(session, get(session, job_id), CANCELLED_UPLOAD)
    job = get(session, job_id)
    if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        raise JobOver(f"{job_id} already {job.status}")
    return job


def fail_dataset(session: Session, dataset_id: str, error: dict[str, Any]) -> None:
    """Mark a dataset as unusable, and fail every queued job that needs it."""
    failed = {"status": DatasetStatus.FAILED, "error": error}
    session.execute(update(Dataset).where(Dataset.id == dataset_id).values(failed))
    needing = (Job.dataset_id == dataset_id) | (Job.evaluation_dataset_id == dataset_id)
    for job_id in session.scalars(select(Job.id).where(needing, Job.status == JobStatus.QUEUED)).all():
        fail_queued(session, job_id, error)


def fail_queued(session: Session, job_id: str, error: dict[str, Any]) -> None:
    """End a job without success while it waits; one that was claimed meanwhile goes on."""
    queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
    if _changes_one(session, queued.values(status=JobStatus.FAILED, error=error, finished_at=now())):
        append_events(session, job_id, [("failed", error)])


def append_events(session: Session, job_id: str, events: Sequence[Event]) -> None:
    """Number events on from the last; the caller's UPDATE of the job's row in this transaction keeps others out."""
    last = session.scalar(select(func.max(JobEvent.seq)).where(JobEvent.job_id == job_id)) or 0
    stamp = now()
    for seq, (type_, data) in enumerate(events, start=last + 1):
        session.add(JobEvent(job_id=job_id, seq=seq, type=type_, data=data, created_at=stamp))
    session.flush()


def record(db: Database, owner: Claim, events: Sequence[Event], progress: dict[str, Any] | None) -> None:
    """Store events of a training process with their metrics; what an earlier attempt already stored is left out."""
    with db.write() as session:
        own(session, owner, **({"progress": stamped(progress)} if progress else {}))
        known = set(session.execute(select(Metric.round, Metric.epoch).where(Metric.job_id == owner.job_id)))
        of_rounds = select(JobEvent.type, JobEvent.data).where(JobEvent.job_id == owner.job_id, JobEvent.type.in_(_OF_ROUNDS))
        known_rounds = {(type_, data["round"]) for type_, data in session.execute(of_rounds)}
        fresh: list[Event] = []
        for type_, data in events:
            if type_ == "epoch":
                if (data["round"], data["epoch"]) in known:
                    continue
                names = ("round", "epoch", "loss", "learning_rate", "images_per_second", "anchors")
                session.add(Metric(job_id=owner.job_id, **{name: data[name] for name in names}))
            elif type_ in _OF_ROUNDS and (type_, data["round"]) in known_rounds:
                continue
            fresh.append((type_, data))
        append_events(session, owner.job_id, fresh)


def tell(db: Database, owner: Claim, progress: dict[str, Any]) -> None:
    """Store how far a job is, and nothing else."""
    with db.write() as session:
        own(session, owner, progress=stamped(progress))


def stamped(progress: dict[str, Any]) -> dict[str, Any]:
    """Progress with the time at which it was told, from which its ``eta_seconds`` counts."""
    return {**progress, "told_at": now().isoformat()}


def lost(db: Database, owner: Claim, reason: str) -> None:
    """Give up an attempt that was ended from outside; the job runs again unless that keeps happening without progress."""
    with db.write() as session:
        if not give_back(session, owner.job_id, Job.attempt == owner.attempt, reason):
            raise StaleAttempt(f"attempt {owner.attempt} no longer owns {owner.job_id}")


def give_back(session: Session, job_id: str, condition: Any, reason: str) -> bool:
    """Requeue a running job if the condition holds, or end it where it was to be cancelled or has had its tries."""
    job = get(session, job_id)
    fruitless = job.fruitless + 1 if job.mark == job.mark_at_claim else 0
    event: Event = ("queued", {"reason": reason})
    values: dict[str, Any] = {"status": JobStatus.QUEUED, "worker": None, "fruitless": fruitless}
    if job.cancel_requested:
        values |= {"status": JobStatus.CANCELLED, "finished_at": now()}
        event = ("cancelled", {})
    elif fruitless >= FRUITLESS_LIMIT:
        error = {"code": WORKER_LOST, "message": f"given up after {fruitless} attempts without progress: {reason}"}
        values |= {"status": JobStatus.FAILED, "finished_at": now(), "error": error}
        event = ("failed", error)
    running = update(Job).where(Job.id == job_id, Job.status == JobStatus.RUNNING, condition)
    if not _changes_one(session, running.values(values)):
        return False
    append_events(session, job_id, [event])
    if event[0] != "queued":
        _ended_unowned(session, job, event[1] or CANCELLED_UPLOAD)
    return True


def _ended_unowned(session: Session, job: Job, error: dict[str, Any]) -> None:
    """What the owner of an upload's validation would have done: without one, a job takes back what was added so far."""
    if makes_dataset(job):
        fail_dataset(session, job.dataset_id, error)
    elif job.kind == JobKind.INGEST and job.attempt:
        create(session, JobKind.COMPACT, job.dataset_id)


def _changes_one(session: Session, statement: Any) -> bool:
    result: Any = session.execute(statement.execution_options(synchronize_session=False))
    return bool(result.rowcount == 1)
