"""The events of jobs, in the order in which they happened."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.columns import now
from core.store.tables import JobEvent


class JobError(TypedDict):
    """Why a job, or the dataset that it was to make, failed; ``code`` is stable."""

    code: str
    message: str


class Event(NamedTuple):
    """``type`` is a state (``JobStatus``) or the type of what a training tells (``core.ground.reports.Event``), whose other
    values are ``data``: those of a job's start are ``attempt``, of its failure a ``JobError``, of its return to the queue a
    ``reason``."""

    type: str
    data: Mapping[str, object] = {}  # JSON


def append(session: Session, job_id: str, new: Sequence[Event]) -> None:
    """Append events, numbered from the last one on. The caller has updated the job's row in this transaction, which keeps other
    writers out."""
    last = session.scalar(select(func.max(JobEvent.seq)).where(JobEvent.job_id == job_id)) or 0
    stamp = now()
    for seq, event in enumerate(new, start=last + 1):
        session.add(JobEvent(job_id=job_id, seq=seq, type=event.type, data=dict(event.data), created_at=stamp))
    session.flush()
