"""From an uploaded archive or a folder to validated images in shards."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from core.collections import datasets, deletions, embedding, training
from core.collections.admission import Admission, File
from core.collections.datasets import upload_path
from core.errors import BadArchive
from core.files.shards import ShardWriter
from core.ground.pictures.depths import common_depths
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.events import JobError
from core.settings import Settings
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Job, Rejection
from core.untrusted import archives
from core.untrusted.decoding import Decoders
from core.untrusted.entries import Entry, Limits
from core.untrusted.pipeline import Pipeline


def ingest(context: JobContext) -> None:
    """Validate an upload: decode every file, keep each distinct image in a shard, list the rest with reasons.

    Only rows of this attempt survive: whatever an earlier attempt left is deleted first. The dataset becomes
    ``ready``, the job ``succeeded`` and, where there is a model, an ``embed`` job queued in one transaction.

    Raises:
        BadArchive: the archive is damaged, or holds no usable image.
        StaleAttempt: the job has another owner by now.
        Stopped: cancelled, lost, or the worker is shutting down.
    """
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
    deletions.forget_unfinished(context, job.dataset_id)
    with context.db.read() as session:
        dataset = datasets.get(session, job.dataset_id)
    folder = context.layout.shards(dataset.id, context.job_id, context.attempt)
    settings = context.settings
    deadline = time.monotonic() + settings.max_validation_seconds
    with (
        closing(ShardWriter(folder)) as writer,
        closing(Pipeline[File](Decoders(settings), settings.max_pixels)) as pipeline,
    ):
        admission = Admission(context, dataset, pipeline, writer, context.layout.relative(folder))
        try:
            for entry in _entries(settings, job.params):
                context.go_on()
                if time.monotonic() > deadline:
                    raise BadArchive(f"takes longer than {settings.max_validation_seconds:,.0f} s to validate, the most allowed")
                admission.submit(entry)
        except BadArchive:
            admission.finish_pending()
            admission.store()  # what was refused until then may say why
            raise
        admission.finish_pending()
    admission.store()
    made = lifecycle.makes_dataset(job)
    if not admission.kept and (made or not admission.duplicates):
        why = f"GET /datasets/{dataset.id}/rejections{'' if made else f'?job_id={job.id}'} says why"
        raise BadArchive(f"no usable image among its {admission.rejected:,} files" + (f"; {why}" if admission.rejected else ""))
    with context.succeed() as session:
        datasets.update_and_invalidate(
            session,
            dataset.id,
            labels=True,
            status=DatasetStatus.READY,
            images=Dataset.images + admission.kept,
            rejected=Dataset.rejected + admission.rejected,
            duplicates=Dataset.duplicates + admission.duplicates,
            depths=common_depths([dataset.depths, admission.depths]),
            noticed=dict(Counter(dataset.noticed) + admission.noticed),
            bytes=(0 if made else Dataset.bytes) + admission.bytes,
        )
        if admission.kept:
            embedding.request(session, dataset.id)
        training.fail_unfit(session, dataset.id)
    datasets.delete_upload(context.settings, job)


def _entries(settings: Settings, source: dict[str, Any]) -> Iterator[Entry]:
    limits = Limits(settings.max_entries, settings.max_image_bytes, settings.max_unpacked_bytes, settings.max_unpacked_ratio)
    if "folder" in source:
        folder = Path(source["folder"])
        return archives.folder_entries(folder, datasets.import_root(settings, folder), limits)
    return archives.entries(upload_path(settings, source["upload"]), limits, name=source.get("filename", ""))


def end_failed(context: JobContext, status: JobStatus, error: JobError | None) -> None:
    """End the owned job without success. A dataset that was not validated is unusable then; what was to be added to one is
    taken back, but for the list of refused files. The upload is deleted.

    Raises:
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
    if context.claim.kind is JobKind.INGEST:
        deletions.forget_unfinished(context, job.dataset_id, failing=status is JobStatus.FAILED)
    with context.db.write() as session:
        protocol.finish(session, context.claim, status, error=error)
        if context.claim.kind is JobKind.INGEST:
            unlisted = session.scalar(select(Job.unlisted).where(Job.id == job.id)) or {}
            listed = select(func.count()).where(Rejection.job_id == job.id, Rejection.code != "duplicate").scalar_subquery()
            refused = listed + sum(count for code, count in unlisted.items() if code != "duplicate")
            counted = update(Dataset).where(Dataset.id == job.dataset_id).values(rejected=Dataset.rejected + refused)
            session.execute(counted, execution_options={"synchronize_session": False})
        if lifecycle.makes_dataset(job):
            lifecycle.fail_dataset(session, job.dataset_id, error or lifecycle.CANCELLED_UPLOAD)
    datasets.delete_upload(context.settings, job)
