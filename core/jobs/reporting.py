"""What an owner stores about its running job: events, metrics and progress."""

from collections.abc import Sequence

from sqlalchemy import select

from core.ground import reports
from core.ground.reports import JobProgress
from core.jobs import events
from core.jobs.protocol import Claim, update_owned
from core.store.columns import now
from core.store.db import Database
from core.store.tables import JobEvent, Metric

_OF_ROUNDS = ("round", "warning")  # types of which a round has at most one event; a resumed run writes them again


def record_events(db: Database, owner: Claim, new: Sequence[reports.Event], progress: JobProgress | None) -> None:
    """Store events of a training with their metrics; what an earlier attempt already stored is left out."""
    with db.write() as session:
        update_owned(session, owner, **({"progress": timestamped(progress)} if progress else {}))
        known = set(session.execute(select(Metric.round, Metric.epoch).where(Metric.job_id == owner.job_id)))
        of_rounds = select(JobEvent.type, JobEvent.data).where(JobEvent.job_id == owner.job_id, JobEvent.type.in_(_OF_ROUNDS))
        known_rounds = {(type_, data["round"]) for type_, data in session.execute(of_rounds)}
        fresh: list[events.Event] = []
        for event in new:
            if event["type"] == "epoch":
                if (event["round"], event["epoch"]) in known:
                    continue
                session.add(_metric(owner.job_id, event))
            elif (event["type"] == "round" or event["type"] == "warning") and (event["type"], event["round"]) in known_rounds:
                continue
            fresh.append(events.Event(event["type"], {name: value for name, value in event.items() if name != "type"}))
        events.append(session, owner.job_id, fresh)


def _metric(job_id: str, epoch: reports.Epoch) -> Metric:
    return Metric(
        job_id=job_id,
        round=epoch["round"],
        epoch=epoch["epoch"],
        loss=epoch["loss"],
        learning_rate=epoch["learning_rate"],
        images_per_second=epoch["images_per_second"],
        anchors=epoch["anchors"],
    )


def record_progress(db: Database, owner: Claim, progress: JobProgress) -> None:
    """Store only the progress of a job."""
    with db.write_passing() as session:
        update_owned(session, owner, progress=timestamped(progress))


def timestamped(progress: JobProgress) -> JobProgress:
    """Progress with the current time as ``told_at``."""
    return {**progress, "told_at": now().isoformat()}
