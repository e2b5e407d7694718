"""Alembic's environment: the URL comes from the caller, or from the settings on the command line."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import context
from sqlalchemy import URL, text

from core.settings import Settings
from core.store.db import Database
from core.store.tables import Base

_KEY = 0x616E63686F72  # of PostgreSQL's lock; any number that nobody else takes


@contextmanager
def alone(url: URL) -> Iterator[None]:
    """Wait until nobody else migrates an SQLite file: its folder is locked, whose lock ends with this process."""
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    folder = os.open(Path(url.database).absolute().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


database = Database(context.config.attributes.get("url") or Settings.load().database)
with alone(database.url), database.engine.connect() as connection:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})  # until the commit
    if connection.dialect.name == "sqlite":  # where a table is made anew, dropping the old one would delete all that refers to it
        connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")  # outside of any transaction, in which it does nothing
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
database.dispose()
