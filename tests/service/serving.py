"""The API alone, in this process, on a database of either kind: no worker and no broker, so that what is queued stays so."""

import io
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread

import httpx
import uvicorn
from sqlalchemy import func, insert, select

from core.collections import datasets
from core.collections.intake import ingest
from core.jobs import protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.audit import Audit
from core.store.db import Database, sqlite_url
from core.store.kinds import Queue
from core.store.tables import Base, Dataset, Image, Job, Rejection
from service.app import create_app
from service.middleware.protocol import Protocol
from tests.conftest import image_bytes
from tests.databases import fill, kept_folder
from tests.published import Published


@contextmanager
def serving(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    url = db.url.render_as_string(hide_password=False)
    app = create_app(settings.model_copy(update={"database_url": url}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Protocol, log_config=None, proxy_headers=False))
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
    with db.read() as session:
        first = session.scalar(select(func.count()).select_from(Dataset)) == 0
    if archive is None and first:  # which most tests begin with; validated once, and copied from then on
        folder, id_ = _validated_once()
        copy_data(folder, settings, db)
        return id_
    return _validated(db, settings, archive or pictures(20))


def _validated(db: Database, settings: Settings, archive: bytes) -> str:
    id_ = datasets.new_dataset_id()
    datasets.upload_path(settings, id_).write_bytes(archive)
    with db.write() as session:
        datasets.create(session, id_, "test", "none", 1)
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None
    ingest(JobContext(db, settings, owner))
    return id_


@cache
def _validated_once() -> tuple[Path, str]:
    """A data folder with a dataset of ``0.png`` to ``19.png``, and that dataset's id."""
    folder = kept_folder()
    settings = Settings(data_dir=folder, threads=1)
    fill(settings)
    with Database(settings.database) as db:
        return folder, _validated(db, settings, pictures(20))


def copy(published: Published, settings: Settings, db: Database) -> None:
    """Copy the rows and files of a live system as it was before any test."""
    copy_data(published.snapshot, settings, db)


def copy_data(folder: Path, settings: Settings, db: Database) -> None:
    """Copy the rows and files of another data folder, which nobody uses, to an empty one."""
    for name in ("datasets", "models", "runs"):
        if (folder / name).exists():
            shutil.copytree(folder / name, settings.root / name, dirs_exist_ok=True)
    with Database(sqlite_url(folder / "anchorhood.sqlite3")) as source, source.read() as old, db.write() as new:
        for table in Base.metadata.sorted_tables:
            if rows := old.execute(select(table)).mappings().all():
                new.execute(insert(table), [dict(row) for row in rows])
        if db.engine.dialect.name == "postgresql":
            for column in (Image.id, Job.seq, Rejection.id, Audit.id):
                sequence = f"{column.table.name}_{column.name}_seq"
                new.execute(select(func.setval(sequence, select(func.max(column)).scalar_subquery())))
