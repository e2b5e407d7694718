"""Compaction of a dataset's shards and its model's files, on SQLite and on PostgreSQL."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, select, update

from core.collections import datasets, deletions, published
from core.collections.intake import ingest
from core.errors import BadQuery, StaleAttempt
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Dataset, Deletion, Embedding, Image
from tests.core.collections.embedded import compacted, count, directory, folders, make_embedded, queued
from tests.core.collections.test_changes import adding, claimed, contents, zipped
from tests.core.collections.test_datasets import ingested
from tests.core.jobs.asked import Asked
from tests.core.jobs.made import make_dataset
from worker.compact import compact


@pytest.fixture
def ids(db: Database, settings: Settings) -> list[int]:
    return make_embedded(db, settings)


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


def test_a_dataset_without_files_is_compacted_in_vain(db: Database, settings: Settings) -> None:
    make_dataset(db)
    compacted(db, settings)


def test_compaction_keeps_what_is_live_and_nothing_else(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped(tmp_path, range(8)))
    ingest(JobContext(db, settings, adding(db, settings, dataset_id, zipped(tmp_path, range(8, 12)))))
    with db.read() as session:
        ids = {image.path: image.id for image in session.scalars(select(Image))}
    with pytest.raises(BadQuery, match="nothing was deleted"):
        deletions.delete_images(db, dataset_id, [ids["a/0.png"], 10**9])
    deletions.delete_images(db, dataset_id, [ids["a/0.png"], ids["a/5.png"]])
    expected = contents(db, settings, dataset_id)
    assert len(expected) == 10
    home = settings.root / "datasets" / dataset_id
    untouched = next(path for path in home.rglob("*.tar") if path.stat().st_size < 8000)
    with db.write() as session:
        training = lifecycle.create(session, JobKind.TRAIN, dataset_id).id
        lifecycle.create(session, JobKind.COMPACT, dataset_id)
    compacting, other = claimed(db), protocol.claim(db, Queue.TRAINING, "w")
    assert other is not None and other.job_id == training  # begins while shards are being written anew
    compact(JobContext(db, settings, compacting))
    assert contents(db, settings, dataset_id) == expected
    assert len(list(home.rglob("*.tar"))) == 3  # the old one is still there, for the training
    assert protocol.claim(db, Queue.TASKS, "w") is None
    with db.write() as session:
        protocol.finish(session, other, JobStatus.SUCCEEDED)
    last = claimed(db)
    compact(JobContext(db, settings, last))
    assert contents(db, settings, dataset_id) == expected
    left = list(home.rglob("*.tar"))
    assert len(left) == 2 and untouched in left
    with db.read() as session:
        assert datasets.get(session, dataset_id).images == 10
