"""Rows are locked in one order, so that two transactions never wait for each other; on PostgreSQL, as SQLite has one writer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update

from core.collections import deletions
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Image
from tests.core.collections.embedded import queued
from tests.live import wait_for
from tests.service.serving import ready_dataset
from worker.compact import compact

pytestmark = pytest.mark.postgres
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("db", [pytest.param("postgres")], indirect=True)
def test_compaction_and_deletion_do_not_wait_for_each_other(db: Database, settings: Settings) -> None:
    """Compaction moves images from the last to the first, as their offsets are here; the deletion begins with the first."""
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        images = session.execute(select(Image.id, Image.shard, Image.offset, Image.length).order_by(Image.id)).all()
        ids = [image.id for image in images]
        for id_, other in zip(ids, reversed(images), strict=True):
            session.execute(update(Image).where(Image.id == id_).values(offset=other.offset, length=other.length))
    with open(settings.layout.file(images[0].shard), "ab") as shard:
        shard.write(bytes(1 << 16))  # as of deleted images
    owner = queued(db, dataset)
    middle = select(Image.id).where(Image.id == ids[len(ids) // 2]).with_for_update()
    with ThreadPoolExecutor() as pool:
        with db.write() as session:  # both reach this image, and hold all before it
            session.execute(middle)
            works: list[Callable[[], object]] = [
                lambda: compact(JobContext(db, settings, owner)),
                lambda: deletions.delete_images(db, dataset, ids[:-1]),
            ]
            running = [pool.submit(work) for work in works]
            wait_for(lambda: waiting(db) == 2, "both", 20)
        for work in running:
            work.result(timeout=30)
    with db.read() as session:
        assert session.scalars(select(Image.id)).all() == ids[-1:]


def waiting(db: Database) -> int:
    with db.read() as session:
        return int(session.scalar(text(_WAITING)) or 0)
