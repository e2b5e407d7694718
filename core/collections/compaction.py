"""When a dataset is compacted: its files hold many deleted images, or lack many that were added."""

from pathlib import Path

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.collections import embedding
from core.jobs import lifecycle
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Dataset, Deletion, Embedding, Job, Model

_TAR_BYTES = 768  # of a file's header and padding, on average
_SLACK = 1 << 20
_SHARE = 20  # added and deleted images that are searched beside the index: up to a twentieth of it,
_FEW = 2000  # or so many


def request(session: Session, dataset_id: str) -> Job:
    """Queue a compaction, unless one is waiting already."""
    waiting = select(Job).where(Job.dataset_id == dataset_id, Job.kind == JobKind.COMPACT, Job.status == JobStatus.QUEUED)
    return session.scalar(waiting.limit(1)) or lifecycle.create(session, JobKind.COMPACT, dataset_id)


def request_if_due(db: Database, settings: Settings, dataset_id: str) -> Job | None:
    """Queue a compaction where a quarter of the shards is of deleted images, or much has changed beside the index."""
    if not _due(db, settings, dataset_id):
        return None
    with db.write() as session:
        dataset = session.get(Dataset, dataset_id, with_for_update={"read": True})
        return request(session, dataset_id) if dataset and dataset.status == DatasetStatus.READY else None


def _due(db: Database, settings: Settings, dataset_id: str) -> bool:
    with db.read() as session:
        dataset = session.get(Dataset, dataset_id)
        model = session.get(Model, dataset.model_id) if dataset and dataset.model_id else None
        added = session.scalar(select(func.count()).where(Embedding.model_id == model.id)) if model else 0
        deleted = session.scalars(select(Deletion.image_id).where(Deletion.dataset_id == dataset_id)).all()
    if dataset is None:
        return False
    stored = sum(map(_size, settings.layout.shard_files(dataset_id)))
    if 3 * stored > 4 * (dataset.bytes + _TAR_BYTES * dataset.images) + _SLACK:
        return True
    few = max(_FEW, model.images // _SHARE) if model else 0
    if model is None or max(added or 0, len(deleted)) <= few:
        return False
    try:
        return (added or 0) > few or int(np.isin(embedding.published_ids(settings, model), deleted).sum()) > few
    except FileNotFoundError:  # a compaction has just put other files in their place
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a compaction is at work
        return 0
