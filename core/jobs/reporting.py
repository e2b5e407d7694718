"""What an owner tells of its job while it runs: events, metrics, how far it is."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from core.jobs import events
from core.jobs.events import Event
from core.jobs.protocol import Claim, require_ownership, update_owned
from core.store.columns import now
from core.store.db import Database
from core.store.tables import JobEvent, Metric

_OF_ROUNDS = ("round", "warning")  # events of which a round has at most one; a resumed run tells them again


def record_events(db: Database, owner: Claim, new: Sequence[Event], progress: dict[str, Any] | None) -> None:
    """Store events of a training process with their metrics; what an earlier attempt already stored is left out."""
    with db.write() as session:
        if progress:
            update_owned(session, owner, progress=timestamped(progress))
        else:
            require_ownership(session, owner)
        known = set(session.execute(select(Metric.round, Metric.epoch).where(Metric.job_id == owner.job_id)))
        of_rounds = select(JobEvent.type, JobEvent.data).where(JobEvent.job_id == owner.job_id, JobEvent.type.in_(_OF_ROUNDS))
        known_rounds = {(type_, data["round"]) for type_, data in session.execute(of_rounds)}
        fresh: list[Event] = []
        for type_, data in new:
            if type_ == "epoch":
                if (data["round"], data["epoch"]) in known:
                    continue
                names = ("round", "epoch", "loss", "learning_rate", "images_per_second", "anchors")
                session.add(Metric(job_id=owner.job_id, **{name: data[name] for name in names}))
            elif type_ in _OF_ROUNDS and (type_, data["round"]) in known_rounds:
                continue
            fresh.append((type_, data))
        events.append(session, owner.job_id, fresh)


def record_progress(db: Database, owner: Claim, progress: dict[str, Any]) -> None:
    """Store how far a job is, and nothing else."""
    with db.write() as session:
        update_owned(session, owner, progress=timestamped(progress))


def timestamped(progress: dict[str, Any]) -> dict[str, Any]:
    """Progress with the time at which it was told, from which its ``eta_seconds`` counts."""
    return {**progress, "told_at": now().isoformat()}
