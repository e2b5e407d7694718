"""When files are written anew, and what is deleted with datasets and models or after crashes, on SQLite and on PostgreSQL."""

import os
import shutil
import time

import pytest
from sqlalchemy import event, func, insert, select, update

from core.collections import compaction, datasets, published
from core.errors import ModelInUse, ModelNotFound
from core.jobs import lifecycle
from core.jobs.sweep import delete_orphans
from core.settings import Settings
from core.store.columns import new_id
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Dataset, Deletion, Image, Model
from tests.core.collections.embedded import count, folders, make_embedded
from tests.core.collections.test_changes import COUNT
from tests.core.collections.test_datasets import uploaded


@pytest.fixture
def ids(db: Database, settings: Settings) -> list[int]:
    return make_embedded(db, settings)


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
    assert set(delete_orphans(db, settings)) == expected
    assert not any(path.exists() for path in expected)
    assert delete_orphans(db, settings) == []
    assert folders(settings) == {"job_1-1", f"{training}-1"} and len(folders(settings, "uploads")) == 2
