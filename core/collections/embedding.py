"""Images that were added after a dataset's current model was trained: which they are, and the job that embeds them."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.ground.folders import ModelFile
from core.jobs import lifecycle
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Embedding, Image, Job, Model


def published_ids(settings: Settings, model: Model) -> NDArray[np.int64]:
    """Ids of the images in a model's files, (N,), memory-mapped."""
    ids: NDArray[np.int64] = np.load(settings.layout.model(model.directory) / ModelFile.IDS, mmap_mode="r")
    return ids


def last_embedded(session: Session, settings: Settings, model: Model) -> int:
    """The highest id of the images that a model has embedded. Ids grow and images are embedded in their order, so that
    those beyond are the ones it lacks."""
    added = session.scalar(select(func.max(Embedding.image_id)).where(Embedding.model_id == model.id))
    return max(int(published_ids(settings, model).max()), added or 0)


def request(session: Session, dataset_id: str, known: int = 0) -> Job | None:
    """Queue the embedding of the images that the dataset's current model lacks, if it may lack any.

    Args:
        known: the highest id in the model's files, where the caller knows it; without it the job will find out.
    """
    model_id = session.scalar(select(Dataset.model_id).where(Dataset.id == dataset_id))
    if model_id is None:
        return None
    added = session.scalar(select(func.max(Embedding.image_id)).where(Embedding.model_id == model_id))
    waiting = select(Job.id).where(Job.dataset_id == dataset_id, Job.kind == JobKind.EMBED, Job.status == JobStatus.QUEUED)
    later = select(Image.id).where(Image.dataset_id == dataset_id, Image.id > max(known, added or 0))
    if session.scalar(waiting.limit(1)) is not None or session.scalar(later.limit(1)) is None:
        return None
    return lifecycle.create(session, JobKind.EMBED, dataset_id)


def request_missing(db: Database, settings: Settings) -> list[str]:
    """Queue the embedding of images whose ``embed`` job failed or was cancelled, which no search finds until the next one;
    returns the new jobs."""
    with db.read() as session:
        current = select(Model).join(Dataset, Dataset.model_id == Model.id).where(Dataset.status == DatasetStatus.READY)
        models = session.scalars(current).all()
    made = []
    for model in models:
        try:
            known = int(published_ids(settings, model).max())
        except FileNotFoundError:  # a compaction has just put other files in their place, or it was deleted
            continue
        with db.write() as session:
            job = request(session, model.dataset_id, known)
        made += [job.id] if job else []
    return made
