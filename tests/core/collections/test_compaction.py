"""Compaction of a model's files, and what is cleaned up after crashes and lost workers, on SQLite and on PostgreSQL."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, func, insert, select, update

from core.collections import compaction, datasets, deletions, published
from core.errors import ModelInUse, ModelNotFound, StaleAttempt
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.jobs.sweep import collect
from core.settings import Settings
from core.store.columns import new_id
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Dataset, Deletion, Embedding, Image, Model
from tests.core.collections.test_changes import COUNT, DIM, claimed, make_model, zipped
from tests.core.collections.test_datasets import ingested, uploaded
from tests.core.jobs.asked import Asked
from tests.core.jobs.test_jobs import make_dataset
from worker.compact import compact


@pytest.fixture
def ids(db: Database, settings: Settings) -> list[int]:
    """Images of a dataset ``ds_1`` whose current model ``mdl_1`` has all but the last five in its files."""
    vectors = np.random.default_rng(0).normal(size=(COUNT + 5, DIM)).astype(np.float32)
    _, made = make_model(db, settings, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (settings.root / "s").write_bytes(b"")
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


def test_a_merge_leaves_one_folder_and_no_embeddings(db: Database, settings: Settings, ids: list[int]) -> None:
    deletions.delete_images(db, "ds_1", ids[:3])
    compacted(db, settings)
    assert folders(settings) == {directory(db)} and directory(db).startswith("job_1-1+")
    assert np.load(settings.root / "models" / directory(db) / "ids.npy").tolist() == ids[3:]
    assert count(db, Embedding) == 0
    assert folders(settings, "runs") == set()


def test_a_compaction_that_was_killed_after_its_merge_is_cleaned_up_by_the_next(
    db: Database, settings: Settings, ids: list[int]
) -> None:
    models = settings.root / "models"
    shutil.copytree(models / "job_1-1", models / "job_1-10")
    with db.read() as session:
        embeddings = [(row.model_id, row.image_id, row.vector) for row in session.scalars(select(Embedding))]
    shutil.copytree(models / "job_1-1", settings.root / "before")
    compacted(db, settings)
    shutil.copytree(settings.root / "before", models / "job_1-1")
    with db.write() as session:
        rows = [dict(zip(("model_id", "image_id", "vector"), row, strict=True)) for row in embeddings]
        session.execute(insert(Embedding), rows)
    compacted(db, settings)  # has nothing to merge
    assert folders(settings) == {directory(db), "job_1-10"}
    assert count(db, Embedding) == 0


def test_ids_of_deleted_images_go_when_no_model_holds_them(db: Database, settings: Settings, ids: list[int]) -> None:
    deletions.delete_images(db, "ds_1", ids[:3])
    compacted(db, settings)
    assert count(db, Deletion) == 3
    with db.write() as session:
        training = lifecycle.create(session, JobKind.TRAIN, "ds_1").id
    compacting, owner = queued(db), protocol.claim(db, Queue.TRAINING, "w")
    assert owner is not None and owner.job_id == training  # it may be learning an image that was deleted since
    compact(JobContext(db, settings, compacting))
    assert count(db, Deletion) == 3
    with db.write() as session:
        protocol.finish(session, owner, JobStatus.SUCCEEDED)
    compacted(db, settings)
    assert count(db, Deletion) == 0


def test_a_stale_compaction_publishes_nothing_over_its_successor(db: Database, settings: Settings, ids: list[int]) -> None:
    owner = queued(db)

    def take_over() -> bool:  # in the middle of the merge
        protocol.abandon(db, owner, "silent")
        successor = claimed(db)
        compact(JobContext(db, settings, successor))
        return False

    with pytest.raises(StaleAttempt):
        compact(JobContext(db, settings, owner, Asked(take_over)))
    assert folders(settings) == {directory(db)}
    assert directory(db).endswith("-2")


def test_a_stale_compaction_deletes_no_file_of_its_successor(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(4)))
    stale = queued(db, dataset_id)
    protocol.abandon(db, stale, "silent")
    successor = claimed(db)
    growing = settings.root / "datasets" / dataset_id / f"{successor.job_id}-{successor.attempt}" / "shard-000000.tar"
    growing.parent.mkdir()
    growing.touch()
    with pytest.raises(StaleAttempt):
        compact(JobContext(db, settings, stale))
    assert growing.exists()


def test_a_model_that_is_deleted_while_it_is_merged(db: Database, settings: Settings, ids: list[int]) -> None:
    def remove() -> bool:  # in the middle of the merge
        with db.write() as session:
            session.execute(update(Dataset).values(model_id=None))
        published.remove(db, settings, "mdl_1")
        return False

    owner = queued(db)
    compact(JobContext(db, settings, owner, Asked(remove)))
    assert folders(settings) == set()


def test_a_model_is_deleted_with_every_folder_that_it_has_had(db: Database, settings: Settings, ids: list[int]) -> None:
    models = settings.root / "models"
    for name in ("job_1-1+job_2-1", "job_1-10", "job_1-2"):
        (models / name).mkdir()
    with db.write() as session:
        classify = lifecycle.create(session, JobKind.CLASSIFY, "ds_1", params={"model_id": "mdl_1"}).id
    with pytest.raises(ModelInUse, match="current"):
        published.remove(db, settings, "mdl_1")
    with db.write() as session:
        session.execute(update(Dataset).values(model_id=None))
    with pytest.raises(ModelInUse, match=classify):
        published.remove(db, settings, "mdl_1")
    with db.write() as session:
        lifecycle.request_cancel(session, classify)
    published.remove(db, settings, "mdl_1")
    assert folders(settings) == {"job_1-10", "job_1-2"}
    with pytest.raises(ModelNotFound), db.write() as session:
        published.make_current(session, "ds_1", "mdl_1")
    with db.read() as session:
        assert datasets.get(session, "ds_1").model_id is None


def test_a_dataset_that_is_being_deleted_answers_no_more(db: Database, settings: Settings, ids: list[int]) -> None:
    (settings.root / "models/job_1-1+job_2-1").mkdir()
    seen: list[tuple[int, int, str | None]] = []

    @event.listens_for(db.engine, "commit")
    def look(_: object) -> None:
        with db.read() as session:
            images = session.scalar(select(func.count()).select_from(Image)) or 0
            rows = session.execute(select(Dataset.model_id)).scalars().all()
        seen.append((images, count(db, Model), rows[0] if rows else None))

    datasets.remove(db, settings, "ds_1")
    event.remove(db.engine, "commit", look)
    assert seen[0] == (COUNT + 5, 1, "mdl_1")
    assert seen[1] == (COUNT + 5, 0, None)  # after the first transaction, with every image still there
    assert folders(settings) == set()


def test_a_dataset_without_files_is_compacted_in_vain(db: Database, settings: Settings) -> None:
    make_dataset(db)
    compacted(db, settings)


def test_whether_compaction_is_due_does_not_hang_on_files(db: Database, settings: Settings, ids: list[int]) -> None:
    with db.write() as session:
        session.execute(insert(Deletion), [{"image_id": 10**6 + number, "dataset_id": "ds_1"} for number in range(2001)])
    shutil.rmtree(settings.root / "models/job_1-1")
    assert compaction.request_if_due(db, settings, "ds_1") is None
    assert compaction.request_if_due(db, settings, "ds_none") is None


def test_files_that_belong_to_nothing_are_collected_and_no_others(db: Database, settings: Settings, ids: list[int]) -> None:
    uploaded(db, settings, b"x")
    with db.write() as session:
        training = lifecycle.create(session, JobKind.TRAIN, "ds_1").id
        compacting = lifecycle.create(session, JobKind.COMPACT, "ds_1").id
        over = lifecycle.create(session, JobKind.COMPACT, "ds_1").id
        lifecycle.request_cancel(session, over)
    gone = new_id("job")
    for name in (f"models/{training}-1", f"models/{gone}-1", "datasets/ds_1", "datasets/ds_gone"):
        (settings.root / name).mkdir(parents=True)
    for name in (compacting, training, over, gone):
        (settings.layout.runs / name).mkdir()
    uploads = settings.layout.uploads
    for path in (*uploads.iterdir(), uploads / "up_old", uploads / "up_new"):
        path.touch()
        if path.name != "up_new":
            os.utime(path, (time.time() - 10**6,) * 2)
    names = {f"models/{gone}-1", "datasets/ds_gone", f"runs/{over}", f"runs/{gone}", "uploads/up_old"}
    expected = {settings.root / name for name in names}
    assert set(collect(db, settings)) == expected
    assert not any(path.exists() for path in expected)
    assert collect(db, settings) == []
    assert folders(settings) == {"job_1-1", f"{training}-1"} and len(folders(settings, "uploads")) == 2
