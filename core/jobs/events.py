"""What happened to jobs, in order."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.columns import now
from core.store.tables import JobEvent

Event = tuple[str, dict[str, Any]]  # type and data


def append(session: Session, job_id: str, new: Sequence[Event]) -> None:
    """Number events on from the last; the caller's UPDATE of the job's row in this transaction keeps others out."""
    last = session.scalar(select(func.max(JobEvent.seq)).where(JobEvent.job_id == job_id)) or 0
    stamp = now()
    for seq, (type_, data) in enumerate(new, start=last + 1):
        session.add(JobEvent(job_id=job_id, seq=seq, type=type_, data=data, created_at=stamp))
    session.flush()
