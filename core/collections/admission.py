"""The files of an upload, one after another: decoded, then kept in a shard with a row, or refused with a reason."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace

from sqlalchemy import bindparam, null, select

from core.files.shards import ShardWriter
from core.ground import notices
from core.ground.label_text import label_text
from core.ground.pictures.depths import Depths, common_depths
from core.ground.pictures.formats import BY_PILLOW, EXTENSION_OF
from core.ground.pictures.imaging import ImageError
from core.jobs.context import JobContext
from core.store.db import BATCH
from core.store.tables import Dataset, Image, Label, Rejection
from core.untrusted.decoding import Checked
from core.untrusted.entries import IGNORED, Entry
from core.untrusted.pipeline import Pipeline

LISTED = 10_000  # files of an upload that are listed for each reason; the others are counted
_WITH_CONTENT = select(Image.path).where(Image.dataset_id == bindparam("dataset"), Image.sha256 == bindparam("digest"))
_WITH_PATH = select(Image.dataset_id).where(Image.path == bindparam("path"))  # by the index on paths


@dataclass(frozen=True)
class File:
    path: str
    data: bytes = b""  # of one that is being decoded, with its digest
    digest: str = ""


@dataclass
class Admission:
    """Files that are being decoded, rows waiting to be written, and counts of all files so far."""

    context: JobContext
    dataset: Dataset
    pipeline: Pipeline[File]
    writer: ShardWriter
    folder: str  # of its shards, relative to the data folder
    ahead: set[str] = field(default_factory=set)  # paths and digests of files that are being decoded
    images: list[dict[str, object]] = field(default_factory=list)
    path_of: dict[str, str] = field(default_factory=dict)  # content digest: path, of ``images``
    paths: set[str] = field(default_factory=set)  # of ``images``
    labels: list[str | None] = field(default_factory=list)
    rejections: list[dict[str, object]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # by code
    stored: int = 0  # files when rows were written last
    kept: int = 0
    bytes: int = 0
    rejected: int = 0
    duplicates: int = 0
    depths: Depths = field(default_factory=dict)
    noticed: Counter[str] = field(default_factory=Counter)

    def submit(self, entry: Entry) -> None:
        """Start decoding a file, and keep or refuse the earlier files whose decoding is done."""
        if entry.code == IGNORED:
            self.noticed[notices.HIDDEN] += 1
            return
        digest = "" if entry.code else hashlib.sha256(entry.data).hexdigest()
        if entry.path in self.ahead or digest in self.ahead:  # it is a repetition only if that file can be decoded
            self.finish_pending()
        if entry.other_path and self._is_taken(entry.path):
            self.finish_pending()
            entry = replace(entry, path=entry.other_path)
        refused = self._refusal(entry, digest)
        file = File(entry.path) if refused else File(entry.path, entry.data, digest)
        if refused is None:
            self.ahead |= {entry.path, digest}
        self._keep(self.pipeline.put(file, file.data, refused))

    def finish_pending(self) -> None:
        """Keep or refuse all that were submitted."""
        self._keep(self.pipeline.drain())

    def _refusal(self, entry: Entry, digest: str) -> ImageError | None:
        if entry.code:
            return ImageError(entry.code, entry.reason)
        stored = self.context.db.look_up(_WITH_CONTENT, dataset=self.dataset.id, digest=digest)
        if path_of_same := stored[0][0] if stored else self.path_of.get(digest):
            return ImageError("duplicate", f"same content as {path_of_same}")
        if self._is_taken(entry.path):
            return ImageError("repeated_path", "another image of the dataset has this path")
        return None

    def _is_taken(self, path: str) -> bool:
        return path in self.paths or (self.dataset.id,) in self.context.db.look_up(_WITH_PATH, path=path)

    def _keep(self, resolved: list[tuple[File, Checked | ImageError]]) -> None:
        for file, checked in resolved:
            if file.digest:
                self.ahead -= {file.path, file.digest}
            if isinstance(checked, ImageError):
                self._reject(file.path, checked.code, str(checked))
            else:
                self._add(file, checked)
            if self._looked_at() - self.stored >= BATCH:
                self.store()

    def _add(self, file: File, checked: Checked) -> None:
        path, data = file.path, file.data
        media_type = BY_PILLOW[checked.format].media_type
        shard, offset = self.writer.add(f"{file.digest}.{EXTENSION_OF[media_type]}", data)
        if checked.depth:
            self.depths = common_depths([self.depths, {checked.depth[0]: checked.depth[1:]}])
        if checked.further_pages:
            self.noticed[notices.code_of_further(checked.format)] += checked.further_pages
        self.path_of[file.digest] = path
        self.paths.add(path)
        self.kept += 1
        self.bytes += len(data)
        self.images.append(
            {
                "dataset_id": self.dataset.id,
                "job_id": self.context.job_id,
                "path": path,
                "sha256": file.digest,
                "shard": f"{self.folder}/{shard}",
                "offset": offset,
                "length": len(data),
                "media_type": media_type,
                "width": checked.width,
                "height": checked.height,
                "grey": checked.grey,
            }
        )
        by_folder = self.dataset.labels == "folders" and "/" in path
        self.labels.append(label_text(path.split("/")[0]) if by_folder else None)

    def _reject(self, path: str, code: str, reason: str) -> None:
        if code == "duplicate":
            self.duplicates += 1
        else:
            self.rejected += 1
        self.refused[code] += 1
        if self.refused[code] <= LISTED:
            self.rejections.append(
                {"dataset_id": self.dataset.id, "job_id": self.context.job_id, "path": path, "code": code, "reason": reason}
            )

    def _looked_at(self) -> int:
        return self.kept + self.rejected + self.duplicates

    def store(self) -> None:
        """Write the rows that wait."""
        if self._looked_at() == self.stored:
            return
        self.stored = self._looked_at()
        progress = {"images": self.kept, "rejected": self.rejected, "duplicates": self.duplicates}
        unlisted = {code: count - LISTED for code, count in self.refused.items() if count > LISTED}
        with self.context.write(progress=progress, unlisted=unlisted or null()) as session:
            if self.images:
                inserted = Image.__table__.insert().returning(Image.id, sort_by_parameter_order=True)  # type: ignore[attr-defined]
                ids = session.execute(inserted, self.images).scalars().all()
                labelled = [{"image_id": id_, "label": label} for id_, label in zip(ids, self.labels, strict=True) if label]
                if labelled:
                    session.execute(Label.__table__.insert(), labelled)  # type: ignore[attr-defined]
            if self.rejections:
                session.execute(Rejection.__table__.insert(), self.rejections)  # type: ignore[attr-defined]
        self.images, self.labels, self.rejections, self.path_of, self.paths = [], [], [], {}, set()
