"""From an uploaded archive or a folder to validated images in shards."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, func, select, update

from core.collections import datasets, deletions, embedding, training
from core.collections.datasets import upload_path
from core.errors import BadArchive
from core.files.shards import ShardWriter
from core.ground import notices
from core.ground.depths import Depths, joined
from core.ground.formats import BY_PILLOW, EXTENSION_OF
from core.ground.imaging import ImageError
from core.ground.label_text import label_text
from core.jobs import lifecycle, protocol
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import BATCH, Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Image, Job, Label, Rejection
from core.untrusted import archives
from core.untrusted.decoding import Checked, Decoders, Pipeline
from core.untrusted.entries import IGNORED, Entry, Limits

_WITH_CONTENT = select(Image.path).where(Image.dataset_id == bindparam("dataset"), Image.sha256 == bindparam("digest"))
_WITH_PATH = select(Image.dataset_id).where(Image.path == bindparam("path"))  # by the index on paths


@dataclass(frozen=True)
class _File:
    path: str
    data: bytes = b""  # of one that is being decoded, with its digest
    digest: str = ""


@dataclass
class _Intake:
    """Files that are being decoded, rows waiting to be written, and how many were seen so far."""

    db: Database
    owner: Claim
    dataset: Dataset
    pipeline: Pipeline[_File]
    writer: ShardWriter
    folder: str  # of its shards, relative to the data folder
    ahead: set[str] = field(default_factory=set)  # paths and digests of files that are being decoded
    images: list[dict[str, Any]] = field(default_factory=list)
    path_of: dict[str, str] = field(default_factory=dict)  # content digest: path, of ``images``
    paths: set[str] = field(default_factory=set)  # of ``images``
    labels: list[str | None] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0
    bytes: int = 0
    rejected: int = 0
    duplicates: int = 0
    depths: Depths = field(default_factory=dict)
    noticed: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry) -> None:
        """Have a file decoded, and keep or refuse those of the earlier ones that are done."""
        if entry.code == IGNORED:
            self.noticed[notices.HIDDEN] += 1
            return
        digest = "" if entry.code else hashlib.sha256(entry.data).hexdigest()
        if entry.path in self.ahead or digest in self.ahead:  # whether it repeats one of those depends on their decoding
            self.settle()
        if entry.other_path and self._is_taken(entry.path):
            self.settle()
            entry = replace(entry, path=entry.other_path)
        refused = self._refusal(entry, digest)
        file = _File(entry.path) if refused else _File(entry.path, entry.data, digest)
        if refused is None:
            self.ahead |= {entry.path, digest}
        self._keep(self.pipeline.put(file, file.data, refused))

    def settle(self) -> None:
        """Keep or refuse all that were taken."""
        self._keep(self.pipeline.rest())

    def _refusal(self, entry: Entry, digest: str) -> ImageError | None:
        if entry.code:
            return ImageError(entry.code, entry.reason)
        stored = self.db.look_up(_WITH_CONTENT, dataset=self.dataset.id, digest=digest)
        if same := stored[0][0] if stored else self.path_of.get(digest):
            return ImageError("duplicate", f"same content as {same}")
        if self._is_taken(entry.path):
            return ImageError("repeated_path", "another image of the dataset has this path")
        return None

    def _is_taken(self, path: str) -> bool:
        return path in self.paths or (self.dataset.id,) in self.db.look_up(_WITH_PATH, path=path)

    def _keep(self, done: list[tuple[_File, Checked | ImageError]]) -> None:
        for file, found in done:
            if file.digest:
                self.ahead -= {file.path, file.digest}
            if isinstance(found, ImageError):
                self._reject(file.path, found.code, str(found))
            else:
                self._add(file, found)
            if len(self.images) + len(self.rejections) >= BATCH:
                self.store()

    def _add(self, file: _File, found: Checked) -> None:
        path, data = file.path, file.data
        media_type = BY_PILLOW[found.format].media_type
        shard, offset = self.writer.add(f"{file.digest}.{EXTENSION_OF[media_type]}", data)
        if found.depth:
            self.depths = joined([self.depths, {found.depth[0]: found.depth[1:]}])
        if found.further:
            self.noticed[notices.of_further(found.format)] += found.further
        self.path_of[file.digest] = path
        self.paths.add(path)
        self.kept += 1
        self.bytes += len(data)
        self.images.append(
            {
                "dataset_id": self.dataset.id,
                "job_id": self.owner.job_id,
                "path": path,
                "sha256": file.digest,
                "shard": f"{self.folder}/{shard}",
                "offset": offset,
                "length": len(data),
                "media_type": media_type,
                "width": found.width,
                "height": found.height,
            }
        )
        by_folder = self.dataset.labels == "folders" and "/" in path
        self.labels.append(label_text(path.split("/")[0]) if by_folder else None)

    def _reject(self, path: str, code: str, reason: str) -> None:
        if code == "duplicate":
            self.duplicates += 1
        else:
            self.rejected += 1
        row = {"dataset_id": self.dataset.id, "job_id": self.owner.job_id, "path": path, "code": code, "reason": reason}
        self.rejections.append(row)

    def store(self) -> None:
        """Write the rows that wait."""
        if not self.images and not self.rejections:
            return
        progress = {"images": self.kept, "rejected": self.rejected, "duplicates": self.duplicates}
        with self.db.write() as session:
            protocol.update_owned(session, self.owner, progress=progress)
            if self.images:
                inserted = Image.__table__.insert().returning(Image.id, sort_by_parameter_order=True)  # type: ignore[attr-defined]
                ids = session.execute(inserted, self.images).scalars().all()
                labelled = [{"image_id": id_, "label": label} for id_, label in zip(ids, self.labels, strict=True) if label]
                if labelled:
                    session.execute(Label.__table__.insert(), labelled)  # type: ignore[attr-defined]
            if self.rejections:
                session.execute(Rejection.__table__.insert(), self.rejections)  # type: ignore[attr-defined]
        self.images, self.labels, self.rejections, self.path_of, self.paths = [], [], [], {}, set()


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
        job = lifecycle.get(session, owner.job_id)
    deletions.forget_unfinished(db, settings, owner, job.dataset_id)
    with db.read() as session:
        dataset = datasets.get(session, job.dataset_id)
    folder = settings.layout.shards(dataset.id, owner.job_id, owner.attempt)
    deadline = time.monotonic() + settings.max_validation_seconds
    with closing(ShardWriter(folder)) as writer, closing(Pipeline[_File](Decoders(settings), settings.max_pixels)) as pipeline:
        intake = _Intake(db, owner, dataset, pipeline, writer, settings.layout.relative(folder))
        try:
            for entry in _entries(settings, job.params):
                if should_stop():
                    raise InterruptedError
                if time.monotonic() > deadline:
                    raise BadArchive(f"takes longer than {settings.max_validation_seconds:,.0f} s to validate, the most allowed")
                intake.take(entry)
        except BadArchive:
            intake.settle()
            intake.store()  # what was refused until then may say why
            raise
        intake.settle()
    intake.store()
    made = lifecycle.makes_dataset(job)
    if not intake.kept and (made or not intake.duplicates):
        why = f"GET /datasets/{dataset.id}/rejections{'' if made else f'?job_id={job.id}'} says why"
        raise BadArchive(f"no usable image among its {intake.rejected:,} files" + (f"; {why}" if intake.rejected else ""))
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)
        datasets.change(
            session,
            dataset.id,
            labels=True,
            status=DatasetStatus.READY,
            images=Dataset.images + intake.kept,
            rejected=Dataset.rejected + intake.rejected,
            duplicates=Dataset.duplicates + intake.duplicates,
            depths=joined([dataset.depths, intake.depths]),
            noticed=dict(Counter(dataset.noticed) + intake.noticed),
            bytes=(0 if made else Dataset.bytes) + intake.bytes,
        )
        if intake.kept:
            embedding.request(session, dataset.id)
        training.fail_unfit(session, dataset.id)
    _delete_upload(db, settings, job)


def _delete_upload(db: Database, settings: Settings, job: Job) -> None:
    db.settle()
    datasets.delete_upload(settings, job)


def _entries(settings: Settings, source: dict[str, Any]) -> Iterator[Entry]:
    limits = Limits(settings.max_entries, settings.max_image_bytes, settings.max_unpacked_bytes, settings.max_unpacked_ratio)
    if "folder" in source:
        folder = Path(source["folder"])
        return archives.folder_entries(folder, datasets.import_root(settings, folder), limits)
    return archives.entries(upload_path(settings, source["upload"]), limits, name=source.get("filename", ""))


def end_failed(db: Database, settings: Settings, owner: Claim, status: JobStatus, error: dict[str, str] | None) -> None:
    """End the owned job without success. A dataset that was not validated is unusable then; what was to be added to one is
    taken back, but for the list of refused files. The upload is deleted.

    Raises:
        StaleAttempt: the job has another owner.
    """
    with db.read() as session:
        job = lifecycle.get(session, owner.job_id)
    if owner.kind is JobKind.INGEST:
        deletions.forget_unfinished(db, settings, owner, job.dataset_id, failing=status is JobStatus.FAILED)
    with db.write() as session:
        protocol.finish(session, owner, status, error=error)
        if owner.kind is JobKind.INGEST:
            refused = select(func.count()).where(Rejection.job_id == job.id, Rejection.code != "duplicate").scalar_subquery()
            counted = update(Dataset).where(Dataset.id == job.dataset_id).values(rejected=Dataset.rejected + refused)
            session.execute(counted, execution_options={"synchronize_session": False})
        if lifecycle.makes_dataset(job):
            lifecycle.fail_dataset(session, job.dataset_id, error or lifecycle.CANCELLED_UPLOAD)
    _delete_upload(db, settings, job)
