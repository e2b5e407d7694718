"""Migrated, empty databases for tests. The migrations run once in each process; every test gets a copy of what they made."""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, create_engine, make_url, text

from core.settings import Settings
from core.store import migrate
from core.store.db import Database, sqlite_url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def db(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Database]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        fill(settings)
        with Database(settings.database) as database:
            yield database
    else:
        with _postgres(request.getfixturevalue("postgres_template")) as url, Database(url) as database:
            yield database


def fill(settings: Settings) -> None:
    """Put a migrated, empty SQLite file where the settings look for it, as ``anchorhood migrate`` would."""
    assert settings.database.database
    path = Path(settings.database.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_sqlite_template(), path)


@cache
def _sqlite_template() -> Path:
    """A migrated file that nobody has open, so that all of it is in it and nothing in a log beside it."""
    path = kept_folder() / "template.sqlite3"
    with Database(sqlite_url(path)):
        migrate.upgrade(sqlite_url(path))
    assert not path.with_name("template.sqlite3-wal").exists()
    return path


def kept_folder() -> Path:
    """An empty folder that is deleted when this process ends."""
    folder = tempfile.mkdtemp(prefix="anchorhood-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a migrated database on the server of ``TEST_DATABASE_URL``, to which nobody is connected."""
    with _postgres(None) as url:
        migrate.upgrade(url)
        yield str(url.database)


@contextmanager
def _postgres(template: str | None) -> Iterator[URL]:
    """A database of its own on the server of ``TEST_DATABASE_URL``, a copy of ``template``, for as long as the block runs."""
    server = make_url(os.environ["TEST_DATABASE_URL"])
    name = f"anchorhood_{uuid.uuid4().hex[:12]}"
    with _administration(server) as connection:
        connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    try:
        yield server.set(database=name)
    finally:
        with _administration(server) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _administration(server: URL) -> Iterator[Connection]:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
