"""From an uploaded archive to validated images in shards."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import update

from core import archives, datasets, imaging, jobs
from core.datasets import delete_some, upload_path
from core.db import BATCH, Database
from core.errors import BadArchive
from core.jobs import Claim
from core.models import Dataset, DatasetStatus, Image, JobStatus, Label, Rejection
from core.settings import Settings
from core.shards import ShardWriter

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
        dataset = datasets.get(session, jobs.get(session, owner.job_id).dataset_id)
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
        while delete_some(db, table, dataset_id, owner):
            pass
