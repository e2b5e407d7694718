"""Lists of jobs, of their events and of their metrics."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.jobs import lifecycle
from core.store import keyset
from core.store.keyset import Page
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Job, JobEvent, Metric


def jobs(
    session: Session,
    limit: int,
    after: str | None,
    *,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    dataset_id: str | None = None,
    newest_first: bool = False,
) -> Page[Job]:
    """Jobs in the order of submission, perhaps only those of a kind, a status or a dataset; fewer than ``limit`` where much is
    noted with them.

    Raises:
        BadCursor: ``after`` is the id of none.
    """
    wanted = select(Job)
    for column, value in ((Job.kind, kind), (Job.status, status), (Job.dataset_id, dataset_id)):
        if value is not None:
            wanted = wanted.where(column == value)
    at = None if after is None else (keyset.row_after(session, Job, after).seq,)
    page = keyset.following(wanted, (Job.seq,), at, limit, newest_first=newest_first)
    limit = keyset.fitting(session, page, (Job.job_metadata, Job.params, Job.evaluation), limit)
    return keyset.page(session.scalars(page.limit(limit + 1)).all(), limit, lambda row: row.id)


def events(session: Session, job_id: str, limit: int, after: int) -> Page[JobEvent]:
    """The events of a job after the event number ``after``; numbers start at 1."""
    wanted = keyset.following(select(JobEvent).where(JobEvent.job_id == job_id), (JobEvent.seq,), (after,), limit)
    return keyset.page(session.scalars(wanted).all(), limit, lambda row: row.seq)


def metrics(session: Session, job_id: str, points: int) -> Sequence[Metric]:
    """The metrics of a job's epochs, in order. Of more than ``points`` epochs, evenly spaced ones are returned, including the
    first and the last.

    Raises:
        JobNotFound: no such job.
    """
    lifecycle.get(session, job_id)
    rows = session.scalars(select(Metric).where(Metric.job_id == job_id).order_by(Metric.round, Metric.epoch)).all()
    if len(rows) > points:
        rows = [rows[round(number * (len(rows) - 1) / (points - 1))] for number in range(points)]
    return rows


class State(NamedTuple):
    """Whether anything happened to a job: another state does not equal the one before."""

    status: str
    progress: dict[str, Any] | None
    last_event: int | None


def states(session: Session, job_ids: Sequence[str]) -> dict[str, State]:
    """The states of those of the jobs that there are, by id."""
    last_event = select(func.max(JobEvent.seq)).where(JobEvent.job_id == Job.id).scalar_subquery()
    rows = session.execute(select(Job.id, Job.status, Job.progress, last_event).where(Job.id.in_(job_ids)))
    return {id_: State(status, progress, seq) for id_, status, progress, seq in rows}
