"""Datasets: from an uploaded archive to validated images in shards."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core import archives, imaging, jobs
from core.db import BATCH, Database
from core.errors import BadArchive, BadRequest, DatasetInUse, DatasetNotFound
from core.jobs import Claim
from core.models import Dataset, DatasetStatus, Image, Job, JobKind, JobStatus, Label, Model, Rejection, new_id, now
from core.settings import Settings
from core.shards import ShardWriter

LABEL_MODES = ("none", "folders")
_MEDIA_TYPES = {
    "JPEG": ("jpg", "image/jpeg"),
    "MPO": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "WEBP": ("webp", "image/webp"),
    "GIF": ("gif", "image/gif"),
    "BMP": ("bmp", "image/bmp"),
    "TIFF": ("tif", "image/tiff"),
    "PPM": ("ppm", "image/x-portable-anymap"),
}


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
        while _delete_some(db, table, dataset_id):
            pass
    with db.write() as session:
        folders = _remove_row(session, dataset_id)
    for folder in folders:
        shutil.rmtree(settings.root / folder, ignore_errors=True)
    upload_path(settings, dataset_id).unlink(missing_ok=True)


def _require_unused(session: Session, dataset_id: str) -> None:
    models = set(session.scalars(select(Model.id).where(Model.dataset_id == dataset_id)))
    for job in session.scalars(select(Job).where(Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]))):
        if dataset_id in (job.dataset_id, job.evaluation_dataset_id) or job.params.get("init") in models:
            raise DatasetInUse(f"{dataset_id} is needed by {job.id}; cancel that job or wait for it")


def _delete_some(db: Database, table: type[Image] | type[Rejection], dataset_id: str, owner: Claim | None = None) -> int:
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


@dataclass
class _Intake:
    """Rows waiting to be written, and what was seen so far."""

    images: list[dict[str, Any]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    path_of: dict[bytes, str] = field(default_factory=dict)  # content digest: first path
    paths: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    kept: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def waiting(self) -> int:
        return len(self.images) + len(self.rejections)


def ingest(db: Database, settings: Settings, owner: Claim, should_stop: Callable[[], bool]) -> None:
    """Validate an upload: decode every file, keep each distinct image in a shard, list the rest with reasons.

    Only rows of ``owner``'s attempt survive: whatever an earlier attempt left is deleted first. The dataset becomes
    ``ready`` and the job ``succeeded`` in one transaction.

    Raises:
        BadArchive: the archive is damaged, or holds no usable image.
        StaleAttempt: the job has another owner by now.
        InterruptedError: ``should_stop`` returned true.
    """
    with db.read() as session:
        dataset = get(session, jobs.get(session, owner.job_id).dataset_id)
    _forget_rows(db, owner, dataset.id)
    home = settings.folder("datasets") / dataset.id
    shutil.rmtree(home, ignore_errors=True)
    folder = home / f"{owner.job_id}-{owner.attempt}"
    intake, unpacked = _Intake(), 0
    found = archives.entries(
        upload_path(settings, dataset.id), max_entries=settings.max_entries, max_bytes=settings.max_image_bytes
    )
    with closing(ShardWriter(folder)) as writer:
        for entry in found:
            if should_stop():
                raise InterruptedError
            unpacked += len(entry.data)
            if unpacked > settings.max_unpacked_bytes:
                raise BadArchive(f"more than {settings.max_unpacked_bytes:,} bytes unpacked, which is the most allowed")
            _take(entry, intake, writer, str(folder.relative_to(settings.root)), dataset, settings.max_pixels)
            if intake.waiting >= BATCH:
                _store(db, owner, dataset.id, intake)
    _store(db, owner, dataset.id, intake)
    if not intake.kept:
        raise BadArchive(f"no usable image among its {intake.rejected:,} files; GET /datasets/{dataset.id}/rejections says why")
    counts = {
        "images": intake.kept,
        "rejected": intake.rejected,
        "duplicates": intake.duplicates,
        "classes": len(intake.classes),
    }
    with db.write() as session:
        ready = {"status": DatasetStatus.READY, "generation": Dataset.generation + 1, **counts}
        jobs.finish(session, owner, JobStatus.SUCCEEDED)
        session.execute(update(Dataset).where(Dataset.id == dataset.id).values(ready))
    upload_path(settings, dataset.id).unlink(missing_ok=True)


def _take(entry: archives.Entry, intake: _Intake, writer: ShardWriter, folder: str, dataset: Dataset, max_pixels: int) -> None:
    if entry.code:
        return _reject(intake, entry.path, entry.code, entry.reason, dataset)
    digest = hashlib.sha256(entry.data).digest()
    if digest in intake.path_of:
        intake.duplicates += 1
        reason = f"same content as {intake.path_of[digest]}"
        intake.rejections.append({"dataset_id": dataset.id, "path": entry.path, "code": "duplicate", "reason": reason})
        return None
    if entry.path in intake.paths:
        return _reject(intake, entry.path, "repeated_path", "another file of the archive has this path", dataset)
    try:
        width, height = imaging.decode(entry.data, max_pixels).size
        extension, media_type = _MEDIA_TYPES[imaging.format_of(entry.data, max_pixels)]
    except imaging.ImageError as error:
        return _reject(intake, entry.path, error.code, str(error), dataset)
    intake.path_of[digest] = entry.path
    intake.paths.add(entry.path)
    intake.kept += 1
    shard, offset = writer.add(f"{digest.hex()}.{extension}", entry.data)
    intake.images.append(
        {
            "dataset_id": dataset.id,
            "path": entry.path,
            "sha256": digest.hex(),
            "shard": f"{folder}/{shard}",
            "offset": offset,
            "length": len(entry.data),
            "media_type": media_type,
            "width": width,
            "height": height,
        }
    )
    label = entry.path.split("/")[0] if dataset.labels == "folders" and "/" in entry.path else None
    intake.labels.append(label)
    if label:
        intake.classes.add(label)
    return None


def _reject(intake: _Intake, path: str, code: str, reason: str, dataset: Dataset) -> None:
    intake.rejected += 1
    intake.rejections.append({"dataset_id": dataset.id, "path": path, "code": code, "reason": reason})


def _store(db: Database, owner: Claim, dataset_id: str, intake: _Intake) -> None:
    if not intake.waiting:
        return
    progress = {"images": intake.kept, "rejected": intake.rejected, "duplicates": intake.duplicates}
    with db.write() as session:
        jobs.own(session, owner, progress=progress)
        if intake.images:
            inserted = Image.__table__.insert().returning(Image.id, sort_by_parameter_order=True)  # type: ignore[attr-defined]
            ids = session.execute(inserted, intake.images).scalars().all()
            labelled = [{"image_id": id_, "label": label} for id_, label in zip(ids, intake.labels, strict=True) if label]
            if labelled:
                session.execute(Label.__table__.insert(), labelled)  # type: ignore[attr-defined]
        if intake.rejections:
            session.execute(Rejection.__table__.insert(), intake.rejections)  # type: ignore[attr-defined]
    intake.images, intake.labels, intake.rejections = [], [], []


def _forget_rows(db: Database, owner: Claim, dataset_id: str) -> None:
    for table in (Image, Rejection):
        while _delete_some(db, table, dataset_id, owner):
            pass
