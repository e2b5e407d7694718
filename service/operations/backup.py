"""Backup and restore while everything runs: the rows of one moment, and every file that they name.

The rows are taken first. Published files are immutable and deleted after their rows, so what a row names is there when it is
copied, unless it was deleted since; then the rows are taken anew, and only what is new is copied again. Files beyond what the
rows name do no harm: the same is left by a crash at that moment. The rows are kept as an SQLite file, whatever the database is,
so that neither its tools nor its version are needed, and a backup of one kind can be restored into the other.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, delete, func, insert, select, text
from sqlalchemy.orm import Session

from core.errors import BadRequest, BadSettings
from core.files import artifacts, manifest
from core.files.layout import BACKED_UP, DataFolder
from core.jobs.uses import uses_of_unfinished
from core.settings import Settings
from core.store import migrate
from core.store.audit import Audit
from core.store.columns import now
from core.store.db import BATCH, Database, sqlite_url
from core.store.tables import ApiKey, Attention, Base, Image, Job, Model, PageSession
from service.operations.strangers import require_names_inside, require_no_links
from service.operations.supervisor import only_one

ABOUT = "backup.json"
_NUMBERED = {"images": "id", "rejections": "id", "jobs": "seq", "audit": "id"}  # tables whose ids are never given again
_OWN = (ApiKey.__tablename__, PageSession.__tablename__, Audit.__tablename__)  # what may be there where one is restored
_TRIES = 10


def backup(settings: Settings, target: Path) -> dict[str, Any]:
    """Write a backup into a new folder, which appears when it is complete; returns what ``backup.json`` in it says.

    ``missing`` there names files that the rows name and the data folder lacks, too.

    Raises:
        BadRequest: the folder exists already, or lies in one that is backed up.
        BadSettings: the database has not the newest schema.
        OSError: the folder cannot be written.
    """
    target = target.resolve()
    if target.exists():
        raise BadRequest(f"{target} exists already; name a new folder")
    if any(target.is_relative_to(settings.root / name) for name in BACKED_UP):
        raise BadRequest(f"{target} lies in a folder that is backed up; name one outside of {settings.root}")
    staged = artifacts.fresh_folder(target.with_name(f"{target.name}.partial"))
    db = Database(settings.database)
    try:
        _require_newest_schema(settings, db)
        missing_before: list[str] | None = None
        for _ in range(_TRIES):
            (DataFolder(staged).rows).unlink(missing_ok=True)
            _save_rows(db, DataFolder(staged).rows)
            for name in BACKED_UP:
                _copy_tree(settings.root / name, staged / name)
            about = _described(staged, db.url.get_backend_name())
            if not about["missing"] or about["missing"] == missing_before:
                break
            missing_before = about["missing"]
    finally:
        db.dispose()
    (staged / ABOUT).write_text(json.dumps(about, indent=2, allow_nan=False))
    artifacts.publish(staged, target)
    return about


def restore(settings: Settings, source: Path) -> dict[str, Any]:
    """Bring a backup into an empty data folder and database, of either kind; returns what its ``backup.json`` says.

    API keys that the database has already stay valid. Jobs that were running are given to a worker when it has looked for
    ``lost_after_seconds``, and go on from their newest checkpoint.

    Raises:
        BadRequest: no backup, or one of a newer version, or one that names or links to files outside of the data folder.
        BadSettings: the data folder or the database is not empty.
        DataDirInUse: ``anchorhood serve`` runs on the data folder.
    """
    if not (source / ABOUT).is_file():
        raise BadRequest(f"{source} is no backup: it has no {ABOUT}")
    require_no_links(source)
    with only_one(settings):
        for name in BACKED_UP:
            if any(settings.layout.ensure(name).iterdir()):
                raise BadSettings(f"ANCHORHOOD_DATA_DIR: {settings.root / name} is not empty; restore into an empty data folder")
        rows = settings.layout.restoring
        shutil.copyfile(DataFolder(source).rows, rows)
        try:
            _restore(settings, source, sqlite_url(rows))
        finally:
            for path in rows.parent.glob(f"{rows.name}*"):
                path.unlink()
    about: dict[str, Any] = json.loads((source / ABOUT).read_text())
    return about


def _restore(settings: Settings, source: Path, rows: URL) -> None:
    try:
        migrate.upgrade(rows)
    except CommandError as error:
        raise BadRequest(f"{source} was made by a newer version of Anchorhood: {error}") from error
    migrate.upgrade(settings.database)
    old, new = Database(rows), Database(settings.database)
    try:
        with old.read() as session:
            require_names_inside(session, settings.layout)
        with new.read() as session:
            for table in Base.metadata.sorted_tables:
                if table.name not in _OWN and session.execute(select(table).limit(1)).first():
                    raise BadSettings(f"ANCHORHOOD_DATABASE_URL: its table {table.name} is not empty; restore into an empty one")
        for name in BACKED_UP:
            if (source / name).is_dir():
                _copy_tree(source / name, settings.root / name)
                artifacts.sync_tree(settings.root / name)
        _copy_rows(old, new)
    finally:
        old.dispose()
        new.dispose()


def _require_newest_schema(settings: Settings, db: Database) -> None:
    with db.engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(migrate.config(settings.database)).get_current_head()
    if revision != newest:
        raise BadSettings(f"ANCHORHOOD_DATABASE_URL: its schema is {revision}, not {newest}; run anchorhood migrate first")


def _save_rows(db: Database, path: Path) -> None:
    if db.embedded:
        source, target = sqlite3.connect(str(db.url.database)), sqlite3.connect(path)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        return
    migrate.upgrade(sqlite_url(path))
    saved = Database(sqlite_url(path))
    try:
        _copy_rows(db, saved)
    finally:
        saved.dispose()


def _copy_rows(source: Database, target: Database) -> None:
    """Copy all rows of one moment in one transaction, with the highest id that each table ever gave."""
    columns = [column for column in Audit.__table__.columns if column.name != "id"]
    with source.read() as old, target.write() as new:
        known_keys = set(new.scalars(select(ApiKey.id)))
        later = [dict(row) for row in new.execute(select(*columns).order_by(Audit.id)).mappings()]  # such as of keys made before
        new.execute(delete(Audit))
        for table in Base.metadata.sorted_tables:
            if table.name == PageSession.__tablename__:  # one that was ended since must not be there again
                continue
            rows = old.execute(select(table).execution_options(yield_per=BATCH)).mappings()
            for batch in rows.partitions():
                lacking = [dict(row) for row in batch if table.name != ApiKey.__tablename__ or row["id"] not in known_keys]
                if lacking:
                    new.execute(insert(table), lacking)
        for name, column in _NUMBERED.items():
            _continue_ids_after(new, name, column, _highest_id(old, name, column))
        if later:
            new.execute(insert(Audit), later)


def _highest_id(session: Session, table: str, column: str) -> int:
    """The highest id that a table ever gave."""
    if session.get_bind().dialect.name == "sqlite":
        return session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}) or 0
    sequence = session.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table, "column": column})
    last, called = session.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()  # noqa: S608
    return int(last) if called else 0


def _continue_ids_after(session: Session, table: str, column: str, highest_id: int) -> None:
    if not highest_id:
        return
    if session.get_bind().dialect.name == "sqlite":
        session.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
        added = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :seq)")
        session.execute(added, {"table": table, "seq": highest_id})
    else:
        session.execute(select(func.setval(func.pg_get_serial_sequence(table, column), highest_id)))


def _copy_tree(source: Path, target: Path) -> None:
    """Copy what is new or has changed; what is deleted meanwhile is left out."""
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                _copy_file(Path(folder, name), into / name)
            except FileNotFoundError:
                (into / name).unlink(missing_ok=True)


def _copy_file(source: Path, target: Path) -> None:
    source_stat = source.stat()
    if target.exists():
        target_stat = target.stat()
        if (target_stat.st_size, target_stat.st_mtime_ns) == (source_stat.st_size, source_stat.st_mtime_ns):
            return
    shutil.copyfile(source, target)
    # The time from before copying: a file that grew while it was copied is copied again next time.
    os.utime(target, ns=(source_stat.st_atime_ns, source_stat.st_mtime_ns))


def _described(staged: Path, kind: str) -> dict[str, Any]:
    db = Database(sqlite_url(DataFolder(staged).rows))
    try:
        with db.read() as session:
            missing = sorted(_missing(session, DataFolder(staged)))
            count = {name: session.scalar(select(func.count()).select_from(table)) for name, table in _COUNTED.items()}
    finally:
        db.dispose()
    return {"created_at": now().isoformat(), "database": kind, **count, "missing": missing}


_COUNTED: dict[str, type[Base]] = {"images": Image, "models": Model, "jobs": Job}


def _missing(session: Session, copy: DataFolder) -> Iterator[str]:
    """The files that rows name and that the copy lacks, in whole or in part."""
    for shard, end in session.execute(select(Image.shard, func.max(Image.offset + Image.length)).group_by(Image.shard)):
        path = copy.file(shard)
        if not path.exists() or path.stat().st_size < end:
            yield shard
    for directory in session.scalars(select(Model.directory)):
        try:
            manifest.read(copy.model(directory))
        except manifest.DamagedModel:
            yield f"models/{directory}"
    for model_id, directory in session.execute(select(Attention.model_id, Attention.directory).distinct()):
        if not copy.maps(model_id, directory).exists():
            yield f"attention/{model_id}/{directory}"
    for needed in uses_of_unfinished(session).values():
        if needed.upload and not copy.upload(needed.upload).exists():
            yield f"uploads/{needed.upload}"
