"""The API alone, in this process, on a database of either kind: no worker and no broker, so that what is queued stays so."""

import io
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import uvicorn
from sqlalchemy import func, insert, select

from core.collections import datasets
from core.collections.intake import ingest
from core.jobs import protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import Queue
from core.store.tables import Base, Job
from service.app import create_app
from tests.conftest import image_bytes
from tests.published import Published


@contextmanager
def serving(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    url = db.url.render_as_string(hide_password=False)
    app = create_app(settings.model_copy(update={"database_url": url}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        app.state.context.stopping.set()
        server.should_exit = True
        thread.join()


def pictures(count: int) -> bytes:
    """A zip of ``0.png``, ``1.png``, ..."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(
                zipfile.ZipInfo(f"{number}.png"), image_bytes(number, side=8)
            )  # of no date: the same bytes at any time
    return file.getvalue()


def ready_dataset(db: Database, settings: Settings, archive: bytes | None = None) -> str:
    """A validated dataset of an archive's images, by default ``0.png`` to ``19.png``."""
    id_ = datasets.new_dataset_id()
    datasets.upload_path(settings, id_).write_bytes(archive or pictures(20))
    with db.write() as session:
        datasets.create(session, id_, "test", "none", 1)
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None
    ingest(JobContext(db, settings, owner))
    return id_


def copy(published: Published, settings: Settings, db: Database) -> None:
    """Copy the rows and files of a live system as it was before any test."""
    for name in ("datasets", "models", "runs"):
        shutil.copytree(published.snapshot / name, settings.root / name)
    with (
        Database(f"sqlite:///{published.snapshot / 'anchorhood.sqlite3'}") as source,
        source.read() as old,
        db.write() as new,
    ):
        for table in Base.metadata.sorted_tables:
            if rows := old.execute(select(table)).mappings().all():
                new.execute(insert(table), [dict(row) for row in rows])
        if db.engine.dialect.name == "postgresql":
            new.execute(select(func.setval("jobs_seq_seq", select(func.max(Job.seq)).scalar_subquery())))
