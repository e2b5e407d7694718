"""What a job needs until it is over. Whoever deletes a dataset, a model, a checkpoint, a shard or an upload checks it first."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.store.kinds import UNFINISHED, JobKind
from core.store.tables import Job
from core.store.visible import EVERYTHING

COLUMNS = (Job.dataset_id, Job.evaluation_dataset_id, Job.params, Job.continues, Job.model_id)  # of ``uses_of_columns``
SHARD_READERS = (JobKind.TRAIN, JobKind.ATTENTION)  # run a child process that has torch and reads shards by their names


@dataclass(frozen=True)
class Uses:
    """What one job needs until it is over."""

    datasets: frozenset[str]  # whose images it works on
    starts_from: str | None  # the model whose weights training starts from
    works_with: str | None  # the model that it asks, or judges
    checkpoints_of: str | None  # the job whose checkpoints it goes on from
    upload: str | None  # the file that it validates, below ``uploads``

    def needs_model(self, model_id: str) -> bool:
        return model_id in (self.starts_from, self.works_with)


def uses(job: Job) -> Uses:
    """What a job needs."""
    return uses_of_columns(job.dataset_id, job.evaluation_dataset_id, job.params, job.continues, job.model_id)


def uses_of_columns(
    dataset_id: str, evaluation_dataset_id: str | None, params: dict[str, Any], continues: str | None, model_id: str | None
) -> Uses:
    """What a job needs, from the columns of its row that say so."""
    init = params.get("init")
    return Uses(
        datasets=frozenset(id_ for id_ in (dataset_id, evaluation_dataset_id) if id_),
        starts_from=init if init and init.startswith("mdl_") else None,
        works_with=params.get("model_id") or model_id,
        checkpoints_of=continues,
        upload=params.get("upload"),
    )


def uses_of_unfinished(session: Session) -> dict[str, Uses]:
    """By id, of every job that is queued or running."""
    everybodys = session.execute(select(Job.id, *COLUMNS).where(Job.status.in_(UNFINISHED)), execution_options={EVERYTHING: True})
    return {id_: uses_of_columns(*columns) for id_, *columns in everybodys}


def works_on(dataset_id: str | InstrumentedAttribute[str], job: type[Job] = Job) -> ColumnElement[bool]:
    """The condition on a job that it works on the images of a dataset."""
    return (job.dataset_id == dataset_id) | (job.evaluation_dataset_id == dataset_id)


def is_reading_shards(dataset_id: str | InstrumentedAttribute[str], job: type[Job] = Job) -> ColumnElement[bool]:
    """The condition on a job that it has begun, is not over, and its child process reads shards of a dataset by their names."""
    return job.kind.in_(SHARD_READERS) & job.status.in_(UNFINISHED) & (job.attempt > 0) & works_on(dataset_id, job)


def shards_are_read(session: Session, dataset_id: str) -> bool:
    """Whether a job ``is_reading_shards`` of a dataset."""
    reading = select(Job.id).where(is_reading_shards(dataset_id)).limit(1)
    return session.scalar(reading, execution_options={EVERYTHING: True}) is not None


def continued_by(session: Session, job_id: str) -> str | None:
    """An unfinished job that goes on from the checkpoints of another one."""
    later = select(Job.id).where(Job.continues == job_id, Job.status.in_(UNFINISHED)).limit(1)
    return session.scalar(later, execution_options={EVERYTHING: True})
