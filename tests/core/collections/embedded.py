"""A dataset of which a model has embedded images that were added later, and looks at its files."""

import numpy as np
from sqlalchemy import func, select, update

from core.collections import compaction, published
from core.jobs import protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobStatus, Queue
from core.store.tables import Dataset, Deletion, Embedding, Model
from tests.core.collections.test_changes import COUNT, DIM, claimed, make_model
from worker.compact import compact


def make_embedded(db: Database, settings: Settings) -> list[int]:
    """Images of a dataset ``ds_1`` whose current model ``mdl_1`` has all but the last five in its files."""
    vectors = np.random.default_rng(0).normal(size=(COUNT + 5, DIM)).astype(np.float32)
    _, made = make_model(db, settings, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (settings.layout.datasets / "s").write_bytes(b"")
    with db.write() as session:
        session.execute(update(Dataset).values(model_id="mdl_1"))
    trained = protocol.claim(db, Queue.TRAINING, "w")
    assert trained is not None
    with db.write() as session:
        protocol.finish(session, trained, JobStatus.SUCCEEDED)
    return [int(id_) for id_ in made]


def queued(db: Database, dataset_id: str = "ds_1") -> Claim:
    with db.write() as session:
        compaction.request(session, dataset_id)
    return claimed(db)


def compacted(db: Database, settings: Settings, dataset_id: str = "ds_1") -> None:
    owner = queued(db, dataset_id)
    compact(JobContext(db, settings, owner))


def folders(settings: Settings, name: str = "models") -> set[str]:
    return {path.name for path in (settings.root / name).iterdir()}


def count(db: Database, table: type[Deletion] | type[Embedding] | type[Model]) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def directory(db: Database) -> str:
    with db.read() as session:
        return published.get(session, "mdl_1").directory
