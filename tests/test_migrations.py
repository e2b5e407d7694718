"""Migrations on a database that is in use: rows in every table at every revision, up and down again."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, MetaData, Table, insert, inspect, select, text

from core import migrate
from core.db import Database

Row = dict[str, Any]
Tables = dict[str, list[Row]]
VERSIONS = "alembic_version"


@pytest.fixture
def config(db: Database) -> Config:
    return migrate.config(db.url.render_as_string(hide_password=False))


def revisions(config: Config) -> list[str]:
    """From the oldest to the newest."""
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def reflected(connection: Connection) -> MetaData:
    metadata = MetaData()
    metadata.reflect(connection)
    return metadata


def value(column: Column[Any], number: int) -> Any:
    if isinstance(column.type, JSON):
        return {"number": number}
    kind = column.type.python_type
    if issubclass(kind, bool):
        return number % 2 == 1
    if issubclass(kind, datetime):
        return datetime(2026, 1, number, tzinfo=UTC).replace(tzinfo=None if not column.type.timezone else UTC)  # type: ignore[attr-defined]
    if issubclass(kind, bytes):
        return bytes([number])
    return kind(number)


def parents(table: Table) -> Iterator[tuple[str, str, str]]:
    for key in table.foreign_keys:
        yield key.parent.name, key.column.table.name, key.column.name


def fill(db: Database, number: int) -> None:
    """One more row in every table, with a value in every column."""
    with db.write() as session:
        made: dict[str, Row] = {}
        for table in reflected(session.connection()).sorted_tables:
            if table.name == VERSIONS:
                continue
            row = {column.name: value(column, number) for column in table.columns}
            row |= {name: made[parent][column] for name, parent, column in parents(table)}
            session.execute(insert(table), row)
            made[table.name] = row


def content(db: Database) -> Tables:
    with db.read() as session:
        tables = reflected(session.connection()).tables
        return {
            name: [dict(row) for row in session.execute(select(table)).mappings()]
            for name, table in tables.items()
            if name != VERSIONS
        }


def kept(before: Tables, after: Tables) -> None:
    """Every row of the tables that are there before and after, in the columns that are."""
    for name in before.keys() & after.keys():
        assert len(before[name]) <= len(after[name]), name
        for old in before[name]:
            common = old.keys() & after[name][0].keys()
            seen = [{column: new[column] for column in common} for new in after[name]]
            assert {column: old[column] for column in common} in seen, (name, old)


def test_rows_survive_every_revision_up_and_down(db: Database, config: Config) -> None:
    order = revisions(config)
    assert len(order) >= 7
    command.downgrade(config, "base")
    before: Tables = {}
    for number, revision in enumerate(order, start=1):
        command.upgrade(config, revision)
        kept(before, content(db))  # what was written under the older schema
        fill(db, number)
        before = content(db)
        assert all(len(rows) <= number and rows for rows in before.values())
    assert len(before["jobs"]) == len(order)
    for revision in [*order[-2::-1], "base"]:
        command.downgrade(config, revision)
        after = content(db)
        kept(before, after)
        assert revision == "base" or after["jobs"]
        before = after
    assert before == {}
    command.upgrade(config, "head")
    command.check(config)


def test_rows_are_there_after_a_step_back_and_forth(db: Database, config: Config) -> None:
    """As when an upgrade is taken back: every table of the older schema is as it was."""
    fill(db, 1)
    before = content(db)
    order = revisions(config)
    for revision in order[-2::-1]:
        command.downgrade(config, revision)
        middle = content(db)
        command.upgrade(config, "head")
        after = content(db)
        assert after.keys() == before.keys()
        for name, rows in middle.items():
            assert len(after[name]) == len(rows) == len(before[name]), (revision, name)
        kept(middle, after)


def test_ids_are_not_given_again_after_a_step_back_and_forth(db: Database, config: Config) -> None:
    fill(db, 5)
    with db.write() as session:
        session.execute(text("DELETE FROM datasets"))  # and with it everything
    for revision in revisions(config)[-2:0:-1]:
        command.downgrade(config, revision)
        command.upgrade(config, "head")
    if db.engine.dialect.name == "sqlite":
        with db.read() as session:
            given = dict(session.execute(text("SELECT name, seq FROM sqlite_sequence")).all())
        assert (given["images"], given["jobs"]) == (5, 5)


def test_foreign_keys_hold_after_all_of_it(db: Database, config: Config) -> None:
    fill(db, 1)
    command.downgrade(config, "0001")
    command.upgrade(config, "head")
    with db.write() as session:
        names = {
            table: {key["name"] for key in inspect(session.connection()).get_foreign_keys(table)} for table in ("jobs", "models")
        }
        assert all(names.values())
        session.execute(text("DELETE FROM datasets"))
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
