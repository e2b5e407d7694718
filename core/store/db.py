"""Database sessions: one for reading, one for writing, each a single transaction.

On SQLite a deferred BEGIN that later writes fails with "database is locked" whatever the timeout, so writers begin
IMMEDIATE and readers cannot write at all.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVarTuple, cast

import psycopg
from sqlalchemy import URL, Connection, CursorResult, Engine, Select, Update, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler

from core.errors import BadSettings
from core.ground import finite
from core.ground.durable import make_folder
from core.store import audit, visible

BATCH = 1000  # rows in one write transaction
# A database that does not answer, or has no room: as SQLAlchemy reports it, and the drivers themselves in ``look_up``.
AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError, sqlite3.OperationalError)
# Texts of errors reach clients and logs, so that they must not hold the values of parameters.
_create_engine = partial(create_engine, json_serializer=finite.dumps, json_deserializer=finite.loads, hide_parameters=True)
_PATIENCE = {"connect_timeout": 5}  # seconds; a server that is away must not hold up every request
_SQLITE_PATH = 504  # bytes of a path that SQLite opens: 512, of which it needs 8 for "-journal"
THREADS = 40  # of a web server's process; a connection beyond the pool's size would be opened anew each time
_KEPT = 10  # connections that are kept open


Columns = TypeVarTuple("Columns")


class _OfThread(threading.local):
    """What each thread has for itself."""

    connection: PoolProxiedConnection | None = None  # to an SQLite file, for ``look_up``


class Database:
    """Two engines on one database; ``read()`` and ``write()`` give sessions."""

    def __init__(self, url: str | URL, connections: int = THREADS) -> None:
        """``connections``: the most to a PostgreSQL server that are open at one time; ``pools.py`` has who may have how many."""
        self.url = make_url(url)
        self._of_thread = _OfThread()
        self._compiled: dict[tuple[int, bool], tuple[str, SQLCompiler]] = {}
        if self.embedded:
            if self.url.database:
                _prepare(Path(self.url.database).absolute())
            self._reader = _sqlite(self.url, read_only=True)
            self.engine = _sqlite(self.url)
            self._passing = _sqlite(self.url, synchronous="NORMAL")
        else:
            kept = min(connections, _KEPT)
            pool = {"pool_pre_ping": True, "pool_size": kept, "max_overflow": connections - kept}
            self.engine = self._passing = _create_engine(self.url, **pool, connect_args=_PATIENCE)
            self._reader = self.engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")

    @property
    def embedded(self) -> bool:
        """Whether this is an SQLite file, for whose answers nobody waits, rather than a server."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read-only transaction on one snapshot of the database. The objects can still be used after it."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, then survives a power cut, and rolls back on any error."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin(), audit.within(session):
            yield session

    @contextmanager
    def write_passing(self) -> Iterator[Session]:
        """A write transaction that a power cut may undo until a later ``write`` has ended: on SQLite it does not wait for the
        disk. For what is soon said again: a sign of life, how far a job is."""
        with Session(self._passing, expire_on_commit=False) as session, session.begin():
            yield session

    def look_up(self, statement: Select[*Columns], **values: str | int) -> list[tuple[*Columns]]:
        """Rows of one small query outside any transaction, at a tenth of the time that a session takes; every search does so.

        Args:
            statement: a constant, since it is compiled once in the life of the process; its columns are texts and integers.
            values: values of its bound parameters, by name.
        """
        limits = visible.limits()
        known = self._compiled.get((id(statement), bool(limits)))
        if known is None:
            compiled = statement.options(*limits).compile(dialect=self.engine.dialect)
            assert isinstance(compiled, SQLCompiler)
            known = self._compiled[id(statement), bool(limits)] = (str(compiled), compiled)
        text, compiler = known
        parameters = compiler.construct_params(values)
        arguments = [parameters[name] for name in compiler.positiontup] if compiler.positiontup else parameters
        if self.embedded:  # a file needs no pool, which takes longer than the query
            own = self._of_thread.connection
            if own is None:
                own = self._of_thread.connection = self._reader.raw_connection()
                own.detach()
            return cast(sqlite3.Connection, own.dbapi_connection).execute(text, arguments).fetchall()
        pooled = self._reader.raw_connection()
        try:
            return cast("psycopg.Connection[tuple[*Columns]]", pooled.driver_connection).execute(text, arguments).fetchall()
        finally:
            pooled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.dispose()

    def dispose(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._passing.dispose()
        self.engine.dispose()


def changes_one(session: Session, statement: Update) -> bool:
    """Execute an UPDATE; whether it changed exactly one row."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def error_text(error: Exception) -> str:
    """The message of an error; of a database error only the first line from its driver, without the statement and its values."""
    if not isinstance(error, SQLAlchemyError | psycopg.Error | sqlite3.Error):
        return f"{type(error).__name__}: {error}"
    cause = getattr(error, "orig", None) or error
    words = "the database refused it" if isinstance(cause, SQLAlchemyError) else str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {words}"


def sqlite_url(path: Path) -> URL:
    """The URL of an SQLite file. No character of the path is interpreted as a part of a URL."""
    return URL.create("sqlite", database=str(path))


def _prepare(path: Path) -> None:
    if len(os.fsencode(path)) > _SQLITE_PATH:
        raise BadSettings(
            f"{path}: the path of an SQLite file may have {_SQLITE_PATH} bytes, and this one has {len(os.fsencode(path))}; use a "
            "folder with a shorter path, or PostgreSQL"
        )
    try:
        make_folder(path.parent)
    except OSError as error:
        raise BadSettings(f"{path.parent}: cannot be made: {error.strerror}") from error


def _sqlite(url: URL, *, read_only: bool = False, synchronous: str = "FULL") -> Engine:
    """An engine whose connections sync SQLite's log at every commit (``FULL``), or only when it is written back (``NORMAL``)."""
    engine = _create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=THREADS)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
