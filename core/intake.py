"""From an uploaded archive or a folder to validated images in shards."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select

from core import archives, datasets, deletions, embedding, imaging, jobs
from core.datasets import upload_path
from core.db import BATCH, Database
from core.errors import BadArchive
from core.jobs import Claim
from core.models import Dataset, DatasetStatus, Image, Job, JobKind, JobStatus, Label, Rejection
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
_WITH_CONTENT = select(Image.path).where(Image.dataset_id == bindparam("dataset"), Image.sha256 == bindparam("digest"))
_WITH_PATH = select(Image.dataset_id).where(Image.path == bindparam("path"))  # by the index on paths
EXTENSIONS = {media_type: extension for extension, media_type in _MEDIA_TYPES.values()}


@dataclass
class _Intake:
    """Rows waiting to be written, and how many were seen so far."""

    job_id: str
    dataset: Dataset
    max_pixels: int
    images: list[dict[str, Any]] = field(default_factory=list)
    path_of: dict[str, str] = field(default_factory=dict)  # content digest: path, of ``images``
    labels: list[str | None] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0
    bytes: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def waiting(self) -> int:
        return len(self.images) + len(self.rejections)

    def reject(self, path: str, code: str, reason: str) -> None:
        if code == "duplicate":
            self.duplicates += 1
        else:
            self.rejected += 1
        row = {"dataset_id": self.dataset.id, "job_id": self.job_id, "path": path, "code": code, "reason": reason}
        self.rejections.append(row)


def ingest(db: Database, settings: Settings, owner: Claim, should_stop: Callable[[], bool]) -> None:
    """Validate an upload: decode every file, keep each distinct image in a shard, list the rest with reasons.

    Only rows of ``owner``'s attempt survive: whatever an earlier attempt left is deleted first. The dataset becomes
    ``ready``, the job ``succeeded`` and, where there is a model, an ``embed`` job queued in one transaction.

    Raises:
        BadArchive: the archive is damaged, or holds no usable image.
        StaleAttempt: the job has another owner by now.
        InterruptedError: ``should_stop`` returned true.
    """
    with db.read() as session:
        job = jobs.get(session, owner.job_id)
    deletions.forget_unfinished(db, settings, owner, job.dataset_id)
    with db.read() as session:
        dataset = datasets.get(session, job.dataset_id)
    intake = _Intake(owner.job_id, dataset, settings.max_pixels)
    folder = settings.folder("datasets") / dataset.id / f"{owner.job_id}-{owner.attempt}"
    unpacked = 0
    with closing(ShardWriter(folder)) as writer:
        for entry in _entries(settings, job.params):
            if should_stop():
                raise InterruptedError
            unpacked += len(entry.data)
            if unpacked > settings.max_unpacked_bytes:
                raise BadArchive(f"more than {settings.max_unpacked_bytes:,} bytes unpacked, which is the most allowed")
            _take(db, entry, intake, writer, str(folder.relative_to(settings.root)))
            if intake.waiting >= BATCH:
                _store(db, owner, intake)
    _store(db, owner, intake)
    made = jobs.makes_dataset(job)
    if not intake.kept and (made or not intake.duplicates):
        raise BadArchive(f"no usable image among its {intake.rejected:,} files; GET /datasets/{dataset.id}/rejections says why")
    with db.write() as session:
        jobs.finish(session, owner, JobStatus.SUCCEEDED)
        datasets.change(
            session,
            dataset.id,
            labels=True,
            status=DatasetStatus.READY,
            images=Dataset.images + intake.kept,
            rejected=Dataset.rejected + intake.rejected,
            duplicates=Dataset.duplicates + intake.duplicates,
            bytes=(0 if made else Dataset.bytes) + intake.bytes,
        )
        if intake.kept:
            embedding.request(session, dataset.id)
    _delete_upload(db, settings, job)


def _delete_upload(db: Database, settings: Settings, job: Job) -> None:
    db.settle()
    if upload := job.params.get("upload"):
        upload_path(settings, upload).unlink(missing_ok=True)


def _entries(settings: Settings, source: dict[str, Any]) -> Iterator[archives.Entry]:
    limits = {"max_entries": settings.max_entries, "max_bytes": settings.max_image_bytes}
    if "folder" in source:
        return archives.folder_entries(Path(source["folder"]), **limits)
    return archives.entries(upload_path(settings, source["upload"]), **limits, name=source.get("filename", ""))


def _take(db: Database, entry: archives.Entry, intake: _Intake, writer: ShardWriter, folder: str) -> None:
    if entry.code:
        return intake.reject(entry.path, entry.code, entry.reason)
    digest = hashlib.sha256(entry.data).hexdigest()
    stored = db.look_up(_WITH_CONTENT, dataset=intake.dataset.id, digest=digest)
    if same := stored[0][0] if stored else intake.path_of.get(digest):
        return intake.reject(entry.path, "duplicate", f"same content as {same}")
    if entry.path in intake.path_of.values() or (intake.dataset.id,) in db.look_up(_WITH_PATH, path=entry.path):
        return intake.reject(entry.path, "repeated_path", "another image of the dataset has this path")
    try:
        image, format_ = imaging.decode_with_format(entry.data, intake.max_pixels)
    except imaging.ImageError as error:
        return intake.reject(entry.path, error.code, str(error))
    width, height = image.size
    extension, media_type = _MEDIA_TYPES[format_]
    intake.path_of[digest] = entry.path
    intake.kept += 1
    intake.bytes += len(entry.data)
    shard, offset = writer.add(f"{digest}.{extension}", entry.data)
    intake.images.append(
        {
            "dataset_id": intake.dataset.id,
            "path": entry.path,
            "sha256": digest,
            "shard": f"{folder}/{shard}",
            "offset": offset,
            "length": len(entry.data),
            "media_type": media_type,
            "width": width,
            "height": height,
        }
    )
    by_folder = intake.dataset.labels == "folders" and "/" in entry.path
    intake.labels.append(entry.path.split("/")[0] if by_folder else None)
    return None


def _store(db: Database, owner: Claim, intake: _Intake) -> None:
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
    intake.images, intake.labels, intake.rejections, intake.path_of = [], [], [], {}


def end_failed(db: Database, settings: Settings, owner: Claim, status: JobStatus, error: dict[str, str] | None) -> None:
    """End the owned job without success. A dataset that was not validated is unusable then; what was to be added to one is
    taken back. The upload is deleted.

    Raises:
        StaleAttempt: the job has another owner.
    """
    with db.read() as session:
        job = jobs.get(session, owner.job_id)
    if owner.kind is JobKind.INGEST:
        deletions.forget_unfinished(db, settings, owner, job.dataset_id)
    with db.write() as session:
        jobs.finish(session, owner, status, error=error)
        if jobs.makes_dataset(job):
            jobs.fail_dataset(session, job.dataset_id, error or jobs.CANCELLED_UPLOAD)
    _delete_upload(db, settings, job)
