"""Datasets as rows and files: create, find, delete."""

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core import jobs
from core.db import BATCH, Database
from core.errors import BadRequest, DatasetInUse, DatasetNotFound
from core.jobs import Claim
from core.models import Dataset, DatasetStatus, Image, Job, JobKind, JobStatus, Model, Rejection, new_id, now
from core.settings import Settings

LABEL_MODES = ("none", "folders")


def upload_path(settings: Settings, dataset_id: str) -> Path:
    """Where an upload lies until it was validated."""
    return settings.folder("uploads") / dataset_id


def create(session: Session, dataset_id: str, name: str, labels: str, size: int) -> Dataset:
    """Insert a dataset whose upload is complete on disk, and the job that validates it.

    Raises:
        BadRequest: ``labels`` is not a known mode.
    """
    if labels not in LABEL_MODES:
        raise BadRequest(f"labels: {labels!r} is not one of {', '.join(LABEL_MODES)}")
    dataset = Dataset(id=dataset_id, name=name, status=DatasetStatus.VALIDATING, labels=labels, bytes=size, created_at=now())
    session.add(dataset)
    session.flush()
    jobs.create(session, JobKind.INGEST, dataset_id)
    return dataset


def new_dataset_id() -> str:
    """A fresh id, needed before the row so that the upload can be stored under it."""
    return new_id("ds")


def get(session: Session, dataset_id: str) -> Dataset:
    """Raises ``DatasetNotFound``."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise DatasetNotFound(dataset_id)
    return dataset


def get_for_job(session: Session, dataset_id: str) -> Dataset:
    """A dataset for a new job: until the transaction ends nobody can delete it or fail its validation.

    Raises:
        DatasetNotFound: no such dataset.
    """
    dataset = session.get(Dataset, dataset_id, with_for_update={"read": True}, populate_existing=True)
    if dataset is None:
        raise DatasetNotFound(dataset_id)
    return dataset


def remove(db: Database, settings: Settings, dataset_id: str) -> None:
    """Delete a dataset with its images, jobs, models and files.

    Its rows go in small transactions, so that a large dataset does not keep writers out; from the first one on it is
    marked as failed, and no job can be created on it.

    Raises:
        DatasetNotFound: no such dataset.
        DatasetInUse: an unfinished job needs it.
    """
    with db.write() as session:
        get(session, dataset_id)
        deleting = {"status": DatasetStatus.FAILED, "error": {"code": "deleted", "message": "it is being deleted"}}
        session.execute(update(Dataset).where(Dataset.id == dataset_id).values(deleting))
        _require_unused(session, dataset_id)
    for table in (Image, Rejection):
        while delete_some(db, table, dataset_id):
            pass
    with db.write() as session:
        folders = _remove_row(session, dataset_id)
    for folder in folders:
        shutil.rmtree(settings.root / folder, ignore_errors=True)
    upload_path(settings, dataset_id).unlink(missing_ok=True)


def _require_unused(session: Session, dataset_id: str) -> None:
    models = set(session.scalars(select(Model.id).where(Model.dataset_id == dataset_id)))
    for job in jobs.unfinished(session):
        if dataset_id in (job.dataset_id, job.evaluation_dataset_id) or job.params.get("init") in models:
            raise DatasetInUse(f"{dataset_id} is needed by {job.id}; cancel that job or wait for it")


def delete_some(db: Database, table: type[Image] | type[Rejection], dataset_id: str, owner: Claim | None = None) -> int:
    """Delete a dataset's rows of a table, up to one small transaction's worth; returns how many there were.

    Raises:
        StaleAttempt: an ``owner`` was given and is one no longer.
    """
    with db.write() as session:
        if owner:
            jobs.own(session, owner)
        some = select(table.id).where(table.dataset_id == dataset_id).limit(BATCH)
        deleted: Any = session.execute(delete(table).where(table.id.in_(some)))
        return int(deleted.rowcount)


def _remove_row(session: Session, dataset_id: str) -> list[str]:
    own_jobs = session.scalars(select(Job.id).where(Job.dataset_id == dataset_id)).all()
    directories = session.scalars(select(Model.directory).where(Model.dataset_id == dataset_id)).all()
    session.execute(update(Job).where(Job.evaluation_dataset_id == dataset_id).values(evaluation_dataset_id=None))
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    folders = [f"datasets/{dataset_id}", *(f"runs/{job}" for job in own_jobs)]
    return [*folders, *(f"models/{directory}" for directory in directories)]


def end_failed(db: Database, settings: Settings, owner: Claim, status: JobStatus, error: dict[str, str] | None) -> None:
    """End the owned job without success. A dataset that was not validated is unusable then, and its upload is deleted.

    Raises:
        StaleAttempt: the job has another owner.
    """
    with db.write() as session:
        jobs.finish(session, owner, status, error=error)
        dataset_id = jobs.get(session, owner.job_id).dataset_id
        if owner.kind is JobKind.INGEST:
            jobs.fail_dataset(session, dataset_id, error or jobs.CANCELLED_UPLOAD)
    if owner.kind is JobKind.INGEST:
        upload_path(settings, dataset_id).unlink(missing_ok=True)
        shutil.rmtree(settings.folder("datasets") / dataset_id, ignore_errors=True)
