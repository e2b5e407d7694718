"""Migrations on a database that is in use: rows in every table at every revision, up and down again."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, MetaData, Table, insert, inspect, select, text

from core.store import migrate
from core.store.db import Database

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


def test_labels_from_before_become_what_a_person_sees(db: Database, config: Config) -> None:
    """More than a batch of them; those that look the same are one class, and those of nothing are gone."""
    command.downgrade(config, "0010")
    old = [*(f"class {number} " for number in range(1500)), *["cat", "cat ", " cat", "\u00e9te", "e\u0301te", "\u200b", "  "]]
    with db.write() as session:
        tables = reflected(session.connection()).tables

        def row(table: str, number: int, **given: Any) -> Row:
            return {column.name: value(column, number) for column in tables[table].columns} | given

        for number, id_ in enumerate(("changed", "as it was"), start=1):
            session.execute(
                insert(tables["datasets"]), row("datasets", number, id=id_, generation=5, label_generation=3, classes=9)
            )
        named = [*(("changed", label) for label in old), ("as it was", "cat"), ("as it was", "dog")]
        for id_, (dataset, _) in enumerate(named, start=1):
            own = {"id": id_, "dataset_id": dataset, "sha256": str(id_), "path": str(id_)}
            session.execute(insert(tables["images"]), row("images", 1, **own))
        given = [{"image_id": id_, "label": label} for id_, (_, label) in enumerate(named, start=1)]
        session.execute(insert(tables["labels"]), given)
    command.upgrade(config, "head")
    with db.read() as session:
        labels = dict(session.execute(text("SELECT image_id, label FROM labels")).all())
        counted = session.execute(text("SELECT id, generation, label_generation, classes FROM datasets ORDER BY id")).all()
        assert session.execute(text("SELECT count(*) FROM images")).scalar() == len(named)
    seen = [*(f"class {number}" for number in range(1500)), *["cat"] * 3, *["\u00e9te"] * 2, None, None, "cat", "dog"]
    assert [labels.get(id_) for id_ in range(1, len(named) + 1)] == seen
    assert counted == [("as it was", 5, 3, 9), ("changed", 6, 4, 1502)]
    with db.write() as session:
        after = session.execute(select(reflected(session.connection()).tables["datasets"])).mappings().all()
        assert [(each["depths"], each["noticed"]) for each in after] == [({}, {})] * 2
    command.check(config)


def test_images_from_before_name_the_upload_that_added_them(db: Database, config: Config) -> None:
    """By the path of their shard; those that a compaction has moved, which only happens to images of uploads that succeeded,
    name the first of these."""
    command.downgrade(config, "0011")
    jobs = {
        "failed": ("ds_1", "ingest", "failed"),
        "first": ("ds_1", "ingest", "succeeded"),
        "later": ("ds_1", "ingest", "succeeded"),
        "going on": ("ds_1", "ingest", "running"),
        "compaction": ("ds_1", "compact", "running"),
        "of another": ("ds_longer", "ingest", "succeeded"),
    }
    ids = {name: f"job_{number:016x}" for number, name in enumerate(jobs)}
    with db.write() as session:
        tables = reflected(session.connection()).tables

        def row(table: str, number: int, **given: Any) -> Row:
            return {column.name: value(column, number) for column in tables[table].columns} | given

        for number, id_ in enumerate(("ds_1", "ds_longer"), start=1):
            session.execute(insert(tables["datasets"]), row("datasets", number, id=id_))
        for seq, (name, (dataset, kind, status)) in enumerate(jobs.items(), start=1):
            own = {"id": ids[name], "dataset_id": dataset, "evaluation_dataset_id": None, "kind": kind, "status": status}
            session.execute(insert(tables["jobs"]), row("jobs", seq, **own))
        for id_, (name, job) in enumerate(ids.items(), start=1):
            shard = f"datasets/{jobs[name][0]}/{job}-12/shard-000000.tar"
            own = {"id": id_, "dataset_id": jobs[name][0], "sha256": str(id_), "path": name, "shard": shard}
            session.execute(insert(tables["images"]), row("images", 1, **own))
    for _ in range(2):
        command.upgrade(config, "head")
        with db.read() as session:
            named = dict(session.execute(text("SELECT path, job_id FROM images")).all())
        assert named == {**ids, "compaction": ids["first"]}
        command.check(config)
        with db.read() as session:
            columns = {column["name"]: column for column in inspect(session.connection()).get_columns("images")}
        assert not columns["job_id"]["nullable"]
        command.downgrade(config, "0011")
    command.upgrade(config, "head")


@pytest.mark.slow
def test_of_several_at_once_one_works_and_the_others_wait(db: Database, config: Config) -> None:
    command.downgrade(config, "base")
    with db.write() as session:
        session.execute(text(f"DROP TABLE {VERSIONS}"))
    url = db.url.render_as_string(hide_password=False)
    migrating = [sys.executable, "-c", f"from core.store import migrate; migrate.upgrade({url!r})"]
    running = [subprocess.Popen(migrating, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 4
    command.check(config)
