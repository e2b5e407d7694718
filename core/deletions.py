"""Taking images out of a dataset: at once out of every answer; ``compaction`` then takes them out of the files."""

import shutil
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core import datasets, jobs
from core.db import BATCH, Database
from core.errors import BadQuery
from core.jobs import Claim
from core.models import Dataset, Deletion, Image, Job, JobKind, JobStatus, Rejection
from core.settings import Settings

_NAMED = 5  # unknown ids that an error names


def delete_images(db: Database, dataset_id: str, image_ids: Sequence[int]) -> int:
    """Delete images, all of them or none; returns how many. Their ids are never used again.

    Raises:
        DatasetNotFound: no such dataset.
        BadQuery: one of the images is not in the dataset; nothing was deleted.
    """
    wanted = sorted(set(image_ids))
    with db.read() as session:
        datasets.get(session, dataset_id)
        known: set[int] = set()
        for start in range(0, len(wanted), BATCH):
            some = Image.id.in_(wanted[start : start + BATCH])
            known |= set(session.scalars(select(Image.id).where(Image.dataset_id == dataset_id, some)))
    if unknown := [id_ for id_ in wanted if id_ not in known]:
        some_ids = ", ".join(map(str, unknown[:_NAMED]))
        raise BadQuery(f"{len(unknown)} of {len(wanted)} are not in {dataset_id}, so nothing was deleted: {some_ids}")
    for start in range(0, len(wanted), BATCH):
        with db.write() as session:
            _delete(session, dataset_id, wanted[start : start + BATCH])
    with db.write() as session:
        datasets.change(session, dataset_id, classes=datasets.class_count(dataset_id))
    return len(wanted)


def forget_unfinished(db: Database, settings: Settings, owner: Claim, dataset_id: str) -> None:
    """Delete what attempts to add images left behind that did not succeed: rows, shards and lists of refused files.

    Only for the owner of a job that changes the dataset, so that no other one is adding to it now.

    Raises:
        StaleAttempt: the job has another owner.
    """
    home = settings.root / "datasets" / dataset_id
    for folder in sorted(home.glob("*-*")):
        job_id, _, attempt = folder.name.rpartition("-")
        with db.read() as session:
            job = session.scalar(select(Job).where(Job.id == job_id))
        if job is None or job.kind != JobKind.INGEST or (job.status == JobStatus.SUCCEEDED and job.attempt == int(attempt)):
            continue
        prefix = f"{folder.relative_to(settings.root)}/"
        begins = func.substr(Image.shard, 1, len(prefix)) == prefix
        while True:
            with db.write() as session:
                jobs.own(session, owner)
                ids = session.scalars(select(Image.id).where(Image.dataset_id == dataset_id, begins).limit(BATCH)).all()
                _delete(session, dataset_id, ids, counted=False, seen=not jobs.makes_dataset(job))
            if not ids:
                break
        with db.write() as session:
            jobs.own(session, owner)
            session.execute(delete(Rejection).where(Rejection.dataset_id == dataset_id, Rejection.job_id == job_id))
        shutil.rmtree(folder, ignore_errors=True)


def _delete(session: Session, dataset_id: str, ids: Sequence[int], counted: bool = True, seen: bool = True) -> None:
    """One transaction's worth; ``counted`` images are in the dataset's figures, ``seen`` ones perhaps in a model."""
    gone = session.execute(delete(Image).where(Image.id.in_(ids)).returning(Image.id, Image.length)).all()
    if gone:
        if seen:
            session.execute(insert(Deletion), [{"image_id": id_, "dataset_id": dataset_id} for id_, _ in gone])
        size = sum(length for _, length in gone)
        figures = {"images": Dataset.images - len(gone), "bytes": Dataset.bytes - size} if counted else {}
        datasets.change(session, dataset_id, **figures)
