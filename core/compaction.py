"""When the files of a dataset hold so much of what was deleted, or lack so much of what was added, that they are written anew."""

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import datasets, embedding, jobs
from core.models import Deletion, Embedding, Job, JobKind, JobStatus, Model
from core.settings import Settings

_TAR_BYTES = 768  # of a file's header and padding, on average
_SLACK = 1 << 20
_SHARE = 20  # added and deleted images that are searched beside the index: up to a twentieth of it,
_FEW = 2000  # or so many


def request(session: Session, dataset_id: str) -> Job:
    """Queue a compaction, unless one is waiting already."""
    waiting = select(Job).where(Job.dataset_id == dataset_id, Job.kind == JobKind.COMPACT, Job.status == JobStatus.QUEUED)
    return session.scalar(waiting.limit(1)) or jobs.create(session, JobKind.COMPACT, dataset_id)


def request_if_due(session: Session, settings: Settings, dataset_id: str) -> Job | None:
    """Queue a compaction where a quarter of the shards is of deleted images, or much has changed beside the index."""
    dataset = datasets.get(session, dataset_id)
    stored = sum(path.stat().st_size for path in (settings.root / "datasets" / dataset_id).glob("*/shard-*.tar"))
    needed = dataset.bytes + _TAR_BYTES * dataset.images
    due = 3 * stored > 4 * needed + _SLACK
    model = session.get(Model, dataset.model_id) if dataset.model_id else None
    if model is not None and not due:
        added = session.scalar(select(func.count()).where(Embedding.model_id == model.id)) or 0
        gone = session.scalars(select(Deletion.image_id).where(Deletion.dataset_id == dataset_id)).all()
        few = max(_FEW, model.images // _SHARE)
        due = added > few or (len(gone) > few and np.isin(embedding.published_ids(settings, model), gone).sum() > few)
    return request(session, dataset_id) if due else None
