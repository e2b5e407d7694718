"""Backup and restore of rows and files, between databases of either kind."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, insert, select

from anchorhood.commands.main import commands
from core.collections import datasets, deletions, images
from core.errors import BadRequest, BadSettings, DataDirInUse
from core.files import manifest
from core.files.layout import DataFolder
from core.jobs import lifecycle, protocol
from core.settings import Settings
from core.store import audit, keys, migrate, sessions
from core.store.audit import Audit
from core.store.columns import new_id
from core.store.db import Database
from core.store.keys import Scope
from core.store.kinds import JobKind, Queue
from core.store.tables import Base, Dataset, Image, Job
from service.operations.backup import backup, restore
from service.operations.supervisor import only_one
from tests.service.serving import pictures, ready_dataset


@pytest.fixture
def ours(settings: Settings, db: Database) -> Settings:
    return settings.model_copy(update={"database_url": db.url.render_as_string(hide_password=False)})


@pytest.fixture
def other(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "other")


def rows(db: Database) -> dict[str, list[tuple[object, ...]]]:
    with db.read() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(tuple, session.execute(select(table)).all()), key=repr) for table in tables}


def fill(db: Database, settings: Settings) -> str:
    """A dataset with labels, a deleted image, a waiting upload and a key."""
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        last = session.scalars(select(Image.id).order_by(Image.id.desc())).first()
        keys.add(session, "mine", Scope.ADMIN, keys.generate())
    assert last is not None
    deletions.delete_images(db, dataset, [last])
    upload = new_id("up")
    datasets.upload_path(settings, upload).write_bytes(pictures(25))
    with db.write() as session:
        datasets.add(session, dataset, {"upload": upload})
    return dataset


def test_rows_and_files_come_back(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    dataset = fill(db, ours)
    about = backup(ours, tmp_path / "saved")
    assert (about["images"], about["jobs"], about["missing"]) == (19, 2, [])
    assert json.loads((tmp_path / "saved/backup.json").read_text()) == about
    assert restore(other, tmp_path / "saved") == about
    again = Database(other.database)
    assert rows(again) == rows(db)
    with again.read() as session:
        found = session.scalars(select(Image).where(Image.dataset_id == dataset)).all()
    for image in found:
        with images.open_file(again, other, image) as one, images.open_file(db, ours, image) as two:
            assert one.read() == two.read()
    owner = protocol.claim(again, Queue.TASKS, "test")
    assert owner is not None and owner.kind is JobKind.INGEST
    with again.read() as session:
        job = lifecycle.get(session, owner.job_id)
    assert datasets.upload_path(other, job.params["upload"]).read_bytes() == pictures(25)
    again.dispose()


def test_the_audit_trail_comes_back_beside_what_is_there(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    with db.write() as session:
        for number in range(3):
            audit.add(session, "delete_dataset", f"ds_{number}", address="somewhere")
        session.flush()
        session.execute(delete(Audit).where(Audit.object == "ds_2"))
    backup(ours, tmp_path / "saved")
    migrate.upgrade(other.database)
    with Database(other.database) as again:
        with again.write() as session:
            audit.add(session, "keys create", "0123456789ab", address="here")
        restore(other, tmp_path / "saved")
        with again.read() as session:
            lines = session.execute(select(Audit.id, Audit.object).order_by(Audit.id)).all()
    assert list(map(tuple, lines)) == [(1, "ds_0"), (2, "ds_1"), (4, "0123456789ab")]


def test_ids_are_not_given_again_after_a_restore(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    fill(db, ours)
    with db.read() as session:
        highest = max(session.scalars(select(Image.id))) + 1  # of the deleted one
    backup(ours, tmp_path / "saved")
    restore(other, tmp_path / "saved")
    again = Database(other.database)
    with again.write() as session:
        row = {name: getattr(session.scalars(select(Image)).first(), name) for name in Image.__table__.columns.keys()}  # noqa: SIM118
        session.execute(insert(Image), [{**row, "id": None, "sha256": "new"}])
        assert session.scalar(select(Image.id).where(Image.sha256 == "new")) == highest + 1
    again.dispose()


def test_from_sqlite_into_this_database(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    """So a system moves from ``serve`` to PostgreSQL."""
    migrate.upgrade(other.database)
    small = Database(other.database)
    fill(small, other)
    own_key = keys.generate()
    with db.write() as session:
        keys.add(session, "of the new deployment", Scope.ADMIN, own_key)
    backup(other, tmp_path / "saved")
    restore(ours, tmp_path / "saved")
    before, after = rows(small), rows(db)
    assert len(after.pop("api_keys")) == len(before.pop("api_keys")) + 1
    assert after == before
    assert keys.verify(db, own_key) is not None
    with db.write() as session:
        dataset = session.scalars(select(Dataset.id)).one()
        job = lifecycle.create(session, JobKind.EMBED, dataset)  # its number collides with none that is there
        assert job.seq == max(session.scalars(select(Job.seq)))
    small.dispose()


def test_only_into_what_is_empty(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    fill(db, ours)
    saved = tmp_path / "saved"
    backup(ours, saved)
    with pytest.raises(BadRequest, match="exists already"):
        backup(ours, saved)
    with pytest.raises(BadSettings, match="datasets is not empty"):
        restore(ours, saved)
    for name in ("datasets", "uploads"):
        shutil.rmtree(ours.root / name)
    with pytest.raises(BadSettings, match="is not empty"):
        restore(ours, saved)
    assert not list(ours.layout.datasets.iterdir())  # refused before anything was written
    with only_one(other), pytest.raises(DataDirInUse):
        restore(other, saved)
    with pytest.raises(BadRequest, match="no backup"):
        restore(other, tmp_path)
    with pytest.raises(BadRequest, match="lies in a folder"):
        backup(ours, ours.root / "models" / "here")


def test_a_backup_of_a_newer_version_is_refused(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    fill(db, ours)
    backup(ours, tmp_path / "saved")
    saved = Database(f"sqlite:///{DataFolder(tmp_path / 'saved').rows}")
    with saved.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    saved.dispose()
    with pytest.raises(BadRequest, match="newer version"):
        restore(other, tmp_path / "saved")
    assert not list(other.layout.datasets.iterdir())


def test_what_the_data_folder_lacks_is_named_and_the_rest_saved(db: Database, ours: Settings, tmp_path: Path) -> None:
    fill(db, ours)
    with db.read() as session:
        shard = session.scalars(select(Image.shard)).first()
    assert shard is not None
    os.truncate(ours.root / shard, 100)
    environment = {"ANCHORHOOD_DATA_DIR": str(ours.root), "ANCHORHOOD_DATABASE_URL": ours.database_url}
    done = CliRunner().invoke(commands, ["backup", str(tmp_path / "saved")], env=environment)
    assert done.exit_code == 1
    assert f"lacks {shard}" in done.stderr
    assert json.loads((tmp_path / "saved/backup.json").read_text())["missing"] == [shard]
    done = CliRunner().invoke(commands, ["backup", "/proc/no"], env=environment)
    assert done.exit_code == 1 and "/proc/no" in done.stderr


def test_a_dataset_that_is_deleted_meanwhile_is_not_missed(
    db: Database, ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are taken anew when what they name is gone."""
    kept, deleted = ready_dataset(db, ours), ready_dataset(db, ours, pictures(3))
    copy = shutil.copyfile

    def delete_and_copy(source: Path, target: Path) -> None:  # after the rows were taken, before the first file
        monkeypatch.undo()
        datasets.remove(db, ours, deleted)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", delete_and_copy)
    assert backup(ours, tmp_path / "saved")["missing"] == []
    saved = Database(f"sqlite:///{DataFolder(tmp_path / 'saved').rows}")
    with saved.read() as session:
        assert session.scalars(select(Dataset.id)).all() == [kept]
    saved.dispose()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("images SET shard", "../../secret"),
        ("images SET shard", "/etc/passwd"),
        ("images SET shard", "datasets/../../secret"),
        ("images SET shard", "anchorhood.sqlite3"),
        ("images SET shard", "datasets//secret"),
        ("jobs SET params", '{"upload": "../../secret"}'),
        ("jobs SET params", '{"upload": "..", "adds": true}'),
        ("jobs SET continues", "../.."),
        ("jobs SET seq = seq, id", "../../.."),
        ("datasets SET id", ".."),
    ],
)
def test_a_backup_names_nothing_outside_of_its_folder(
    settings: Settings, other: Settings, tmp_path: Path, change: str, value: str
) -> None:
    migrate.upgrade(settings.database)
    with Database(settings.database) as db:
        fill(db, settings)
    saved = tmp_path / "saved"
    backup(settings, saved)
    with closing(sqlite3.connect(DataFolder(saved).rows)) as connection:
        table = change.partition(" ")[0]
        connection.execute(f"UPDATE {change} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", [value])
        connection.commit()
    with pytest.raises(BadRequest, match="outside of the data folder"):
        restore(other, saved)
    assert not any(other.layout.datasets.iterdir()), "refused before anything was written"


def test_a_backup_has_no_links(settings: Settings, other: Settings, tmp_path: Path) -> None:
    migrate.upgrade(settings.database)
    with Database(settings.database) as db:
        fill(db, settings)
    saved = tmp_path / "saved"
    backup(settings, saved)
    (tmp_path / "secret").write_text("secret")
    (saved / "uploads" / "up_1").symlink_to(tmp_path / "secret")
    with pytest.raises(BadRequest, match="is a link"):
        restore(other, saved)


def test_sessions_do_not_come_back(db: Database, ours: Settings, other: Settings, tmp_path: Path) -> None:
    """One that was ended after the backup must not go on by it; a key's own revocation is the operator's to repeat."""
    fill(db, ours)
    with db.read() as session:
        (key,) = keys.list_all(session)
    text = sessions.start(db, key.id, timedelta(hours=1))
    assert sessions.verify(db, text, timedelta(hours=1)) is not None
    backup(ours, tmp_path / "saved")
    restore(other, tmp_path / "saved")
    with Database(other.database) as again:
        assert sessions.verify(again, text, timedelta(hours=1)) is None


def test_a_manifest_names_files_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("../secret", str(tmp_path / "secret"), "..", ""):
        (folder / "manifest.json").write_text(json.dumps({"files": {name: {"bytes": 6, "sha256": ""}}}))
        with pytest.raises(manifest.DamagedModel, match="no file of the folder"):
            manifest.read(folder)
