"""Submitting training jobs: what is refused at once, and the row of an accepted job. What can be checked only when the
images are known, ``training`` checks again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from core.collections import datasets, training
from core.errors import BadParameters, DatasetNotReady
from core.jobs import idempotency, lifecycle
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Job


@dataclass(frozen=True)
class Submission:
    """A training job that is asked for.

    Attributes:
        params: the training parameters that were given; presets hold the rest.
        metadata: the client's notes on it, JSON.
    """

    dataset_id: str
    evaluation_dataset_id: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UploadedDataset:
    """An archive that lies under a dataset's id among the uploads and is to become that dataset."""

    id: str
    name: str
    labels: str
    bytes: int


def submit(
    db: Database,
    settings: Settings,
    submission: Submission,
    key: str | None,
    request: object,
    upload: UploadedDataset | None = None,
) -> tuple[Job, bool]:
    """Queue a training job, perhaps with the dataset that it trains on; the two are inserted together.

    Args:
        key: the client's idempotency key, with ``request`` as in ``idempotency.job_once``.

    Returns:
        The job, and whether it is new. If it is not, the upload is deleted.

    Raises:
        DatasetNotFound: no such dataset.
        DatasetNotReady: it failed validation.
        TooFewImages: it holds fewer images than training needs.
        BadParameters: the parameters do not fit what the job starts from or is judged by.
        BadRequest: the labels of the new dataset are of no known mode.
        KeyReused: the key came with another request before.
    """
    with db.read() as session:  # reads a file, before the transaction that writes
        learned = training.learned_by(session, settings, submission.params.get("init"))

    def make(session: Session) -> Job:
        if upload is not None:
            datasets.create(session, upload.id, upload.name, upload.labels, upload.bytes)
        return _create(session, submission, learned)

    job, new = idempotency.job_once(db, key, request, make)
    if upload is not None and not new:
        datasets.upload_path(settings, upload.id).unlink(missing_ok=True)
    return job, new


def check(db: Database, settings: Settings, params: Mapping[str, Any]) -> None:
    """Refuse parameters that ``submit`` would refuse whatever the dataset.

    Raises:
        BadParameters: they do not fit what the job would start from.
    """
    with db.read() as session:
        learned = training.learned_by(session, settings, params.get("init"))
        training.require_init(session, params, learned, "params.")


def cancel(db: Database, settings: Settings, job_id: str) -> tuple[Job, bool]:
    """Cancel a job: at once while it is queued, and then with what was uploaded for it; within seconds while it runs.

    Returns:
        The job, and whether it was not cancelled before.

    Raises:
        JobNotFound: no such job.
        JobOver: it already succeeded or failed.
    """
    with db.write() as session:
        job, new = lifecycle.request_cancel(session, job_id)
    if job.status == JobStatus.CANCELLED:
        datasets.delete_upload(settings, job)
    return job, new


def _create(session: Session, submission: Submission, learned: Mapping[str, Any] | None) -> Job:
    if submission.evaluation_dataset_id == submission.dataset_id:
        raise BadParameters("evaluation_dataset_id: is the dataset to train on; without it images judge each other")
    named = (submission.dataset_id, submission.evaluation_dataset_id)
    for dataset_id in sorted(id_ for id_ in named if id_ is not None):
        dataset = datasets.get_for_job(session, dataset_id)
        if dataset.status == DatasetStatus.FAILED:
            raise DatasetNotReady(f"{dataset_id} failed validation: {(dataset.error or {}).get('message')}")
    params = dict(submission.params)
    training.require_init(session, params, learned)
    training.require(session, submission.dataset_id, submission.evaluation_dataset_id, params)
    return lifecycle.create(
        session,
        JobKind.TRAIN,
        submission.dataset_id,
        params=params,
        evaluation_dataset_id=submission.evaluation_dataset_id,
        name=submission.name,
        metadata=submission.metadata,
    )
