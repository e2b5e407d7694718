"""Deleting images of a dataset: every answer is without them at once, the files only after ``compaction``."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from sqlalchemy import delete, exists, insert, null, select, update
from sqlalchemy.orm import Session

from core.collections import datasets, embedding
from core.errors import BadQuery, DatasetNotReady
from core.files.layout import attempt_of
from core.files.thumbnails import Thumbnails
from core.jobs import protocol
from core.jobs.context import JobContext
from core.jobs.uses import shards_are_read
from core.store import audit
from core.store.db import BATCH, Database
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Dataset, Deletion, Image, Job, Model, Rejection

_NAMED = 5  # unknown ids that an error names
_UNSYNCHRONISED = {"synchronize_session": False}


def delete_images(db: Database, dataset_id: str, image_ids: Sequence[int]) -> int:
    """Delete images, all of them or none; returns how many. Their ids are never used again.

    Raises:
        DatasetNotFound: no such dataset.
        BadQuery: one of the images is not in the dataset; nothing was deleted.
        DatasetNotReady: one of them is of an upload that is still being validated; nothing was deleted.
    """
    wanted = sorted(set(image_ids))
    with db.write() as session:  # a single one, however many images: all of them or none
        datasets.get(session, dataset_id)
        datasets.update_and_invalidate(session, dataset_id)  # locks its row, as ``lock_dataset`` does
        size_of: dict[int, int] = {}
        for start in range(0, len(wanted), BATCH):
            in_batch = Image.id.in_(wanted[start : start + BATCH]) & datasets.is_validated_image(dataset_id)
            deleted = delete(Image).where(in_batch).returning(Image.id, Image.length)
            size_of |= dict(session.execute(deleted, execution_options=_UNSYNCHRONISED).all())
        if unknown := [id_ for id_ in wanted if id_ not in size_of]:
            _refuse(session, dataset_id, unknown, len(wanted))
        audit.mention(*wanted)
        session.execute(insert(Deletion), [{"image_id": id_, "dataset_id": dataset_id} for id_ in wanted])
        datasets.update_and_invalidate(
            session,
            dataset_id,
            images=Dataset.images - len(wanted),
            bytes=Dataset.bytes - sum(size_of.values()),
            classes=datasets.class_count(dataset_id),
        )
    return len(wanted)


def _refuse(session: Session, dataset_id: str, unknown: Sequence[int], wanted: int) -> NoReturn:
    listed = unknown[:_NAMED]
    named = f"so nothing was deleted: {', '.join(map(str, listed))}"
    if len(session.scalars(select(Image.id).where(Image.dataset_id == dataset_id, Image.id.in_(listed))).all()) == len(listed):
        raise DatasetNotReady(f"{len(unknown)} of {wanted} are of an upload that is still being validated, {named}")
    raise BadQuery(f"{len(unknown)} of {wanted} are not in {dataset_id}, {named}")


def forget_unfinished(context: JobContext, dataset_id: str, *, failing: bool = False) -> None:
    """Delete what unsuccessful attempts to add images left behind: rows, shards and lists of refused files. The list of an
    upload that failed stays, since it says why.

    Only for the owner of a job that changes the dataset, so that no other one is adding to it now.

    Args:
        failing: the owned job itself is about to fail.

    Raises:
        StaleAttempt: the job has another owner.
    """
    folders = context.layout.shard_folders(dataset_id)
    with context.db.read() as session:
        uploads = _uploads(session, dataset_id)
        unsuccessful_uploads = select(Job.id).where(
            Job.dataset_id == dataset_id, Job.kind == JobKind.INGEST, Job.status != JobStatus.SUCCEEDED
        )
        with_images = set(session.scalars(unsuccessful_uploads.where(exists().where(Image.job_id == Job.id))))
    leftovers = [(folder, *attempt_of(folder.name)) for folder in folders]
    for job_id in sorted(with_images | {job_id for _, job_id, _ in leftovers}):
        upload = uploads.get(job_id)
        if upload is not None and not upload.succeeded:
            list_stays = upload.list_is_whole or (failing and job_id == context.job_id)
            _forget_rows(context, dataset_id, job_id, rejections=not list_stays)
    for folder, job_id, attempt in leftovers:
        upload = uploads.get(job_id)
        if upload is not None and not (upload.succeeded and upload.attempt == attempt):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Upload:
    """A job that added images to a dataset, or tries to."""

    attempt: int
    succeeded: bool
    list_is_whole: bool  # it failed after it had looked at every file that it lists


def _uploads(session: Session, dataset_id: str) -> dict[str, _Upload]:
    columns = select(Job.id, Job.attempt, Job.status, Job.error)
    uploads = {}
    for id_, attempt, status, error in session.execute(columns.where(Job.dataset_id == dataset_id, Job.kind == JobKind.INGEST)):
        list_is_whole = status == JobStatus.FAILED and (error or {}).get("code") != protocol.WORKER_LOST
        uploads[id_] = _Upload(attempt, status == JobStatus.SUCCEEDED, list_is_whole)
    return uploads


def _forget_rows(context: JobContext, dataset_id: str, job_id: str, *, rejections: bool) -> None:
    while True:
        with context.write() as session:
            ids = session.scalars(select(Image.id).where(Image.job_id == job_id).limit(BATCH)).all()
            if not ids:
                break
            datasets.update_and_invalidate(session, dataset_id)
            session.execute(delete(Image).where(Image.id.in_(ids)), execution_options=_UNSYNCHRONISED)
        Thumbnails(context.layout).forget(dataset_id, ids)
    if rejections:
        with context.write() as session:
            session.execute(delete(Rejection).where(Rejection.dataset_id == dataset_id, Rejection.job_id == job_id))
            session.execute(update(Job).where(Job.id == job_id).values(unlisted=null()), execution_options=_UNSYNCHRONISED)


def forget_compacted(context: JobContext, dataset_id: str) -> None:
    """Delete the rows that mark images as deleted where no model of the dataset holds them any more, after a compaction.

    Raises:
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:  # in this order: training that begins later lists none of these images
        ids = np.array(session.scalars(select(Deletion.image_id).where(Deletion.dataset_id == dataset_id)).all(), np.int64)
        shards_in_use = shards_are_read(session, dataset_id)
        models = session.scalars(select(Model).where(Model.dataset_id == dataset_id)).all()
    if shards_in_use:
        return
    for model in models:
        try:
            ids = np.setdiff1d(ids, embedding.published_ids(context.settings, model))
        except FileNotFoundError:  # deleted meanwhile; the next compaction will do it
            return
    for start in range(0, len(ids), BATCH):
        with context.write() as session:
            session.execute(delete(Deletion).where(Deletion.image_id.in_(ids[start : start + BATCH].tolist())))
