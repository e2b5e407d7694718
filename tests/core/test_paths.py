"""A data folder may have any name that the system allows: nothing in it is read as syntax, and everything stays in it."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from core.collections import datasets
from core.errors import BadRequest, BadSettings
from core.jobs.bell import Bell, make_app
from core.search.index import build, load, search
from core.settings import Settings
from core.store import migrate
from core.store.db import Database
from core.store.keys import Scope, add, generate, verify
from core.store.kinds import Queue
from service.operations.backup import backup, restore
from tests.live import wait_for
from tests.service.serving import ready_dataset

NAMES = [
    "what? #1 100%41 it's Ünï",
    "what",
    "[x]*",
    "a;b:c&d=e+f",
    "$HOME ${HOME} `id` %(here)s %%",
    '"quoted\\',
    "two\nlines",
    "-a",
    "~nobody-of-that-name",
    "d" * 200,
    os.fsdecode(b"no utf-8 \xff"),
]


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which paths are relative."""
    folder = tmp_path / "My Projects"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def from_environment(monkeypatch: pytest.MonkeyPatch, data_dir: str | Path) -> Settings:
    monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(data_dir))
    return Settings.load()


def test_every_folder_has_its_own_database_in_it(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {}
    for name in NAMES:
        settings = from_environment(monkeypatch, name)
        migrate.upgrade(settings.database)
        with Database(settings.database) as db:
            secrets[name] = generate()
            with db.write() as session:
                add(session, "mine", Scope.ADMIN, secrets[name])
        assert (beside / name / "anchorhood.sqlite3").is_file()
    assert sorted(os.listdir(beside)) == sorted(NAMES)
    for name in NAMES:
        with Database(from_environment(monkeypatch, beside / name).database) as db:
            assert [other for other in NAMES if verify(db, secrets[other])] == [name]


@pytest.mark.slow
def test_every_folder_has_its_own_broker_in_it(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    try:
        for name in NAMES:  # at once, since each takes a second to start
            monkeypatch.setenv("ANCHORHOOD_DATA_DIR", name)
            started.append(subprocess.Popen([sys.executable, "-m", "service.operations.valkey"]))
        for name in NAMES:
            bell = Bell(make_app(from_environment(monkeypatch, name)))
            wait_for(bell.answers, f"the broker in {name!r}", 60)
            assert (beside / name / "run" / "valkey.sock").is_socket()
            for _ in range(NAMES.index(name) + 1):
                bell.ring(Queue.TASKS)
        for name in NAMES:
            with make_app(from_environment(monkeypatch, beside / name)).connection_for_write() as connection:
                assert connection.default_channel.client.llen(Queue.TASKS.value) == NAMES.index(name) + 1
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
    assert sorted(os.listdir(beside)) == sorted(NAMES)


def test_backup_and_restore(beside: Path) -> None:
    names = [NAMES[0], NAMES[2], NAMES[-1]]
    for number, name in enumerate(names):
        settings = Settings(data_dir=Path(name))
        migrate.upgrade(settings.database)
        with Database(settings.database) as db:
            ready_dataset(db, settings)
        saved, again = Path("saved", f"{number}{name}"), Settings(data_dir=Path("again", name))
        about = backup(settings, saved)
        assert (about["images"], about["missing"]) == (20, [])
        assert restore(again, saved) == about
        with closing(sqlite3.connect(again.root / "anchorhood.sqlite3")) as rows:
            assert rows.execute("SELECT count(*) FROM images").fetchone() == (20,)
        assert not list(again.layout.processes.glob("*.sqlite3*"))
    assert sorted(os.listdir(beside)) == sorted([*names, "saved", "again"])


def test_a_path_that_sqlite_cannot_open_is_one_clear_line(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path.joinpath(*["d" * 100] * 5))
    with pytest.raises(BadSettings, match="may have 504 bytes, and this one has 5"):
        Database(settings.database)
    (tmp_path / "file").touch()
    with pytest.raises(BadSettings, match="Not a directory"):
        Database(Settings(data_dir=tmp_path / "file" / "data").database)


def test_a_url_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    for url in ("rubbish", "postgresql+psycopg://host:port/name"):
        with pytest.raises(BadSettings, match="ANCHORHOOD_DATABASE_URL"):
            _ = Settings(data_dir=tmp_path, database_url=url).database


def test_an_index_in_a_folder_of_any_name(beside: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    for name in NAMES:
        Path(name).mkdir()
        build(vectors, Path(name) / "index.faiss")
        rows, _ = search(load(Path(name) / "index.faiss"), vectors[2], 1)
        assert rows.tolist() == [2]


def test_import_roots_and_uris(beside: Path) -> None:
    roots = [beside / name for name in NAMES[:-1]]
    for root in roots:
        (root / "photos").mkdir(parents=True)
    settings = Settings(data_dir=beside / "data", import_roots=":".join(map(str, roots)))
    for root in roots:
        folder = root / "photos"
        assert datasets.import_folder(settings, folder.as_uri()) == folder
        assert datasets.import_folder(settings, str(folder)) == folder
        assert datasets.import_root(settings, folder) == root


@pytest.mark.parametrize("name", ["what? #1", "two\nlines", "a\tb", "[x"])
def test_a_file_url_that_was_not_quoted_means_no_other_folder(beside: Path, name: str) -> None:
    for each in (name, "what", "twolines", "ab"):
        (beside / each).mkdir(exist_ok=True)
    settings = Settings(data_dir=beside / "data", import_roots=str(beside))
    if name == "[x":
        assert datasets.import_folder(settings, f"file://{beside}/{name}") == beside / name
        with pytest.raises(BadRequest, match="must be file:///"):
            datasets.import_folder(settings, f"file://{name}")
        return
    with pytest.raises(BadRequest, match="are %3F and %23"):
        datasets.import_folder(settings, f"file://{beside}/{name}")


def test_a_uri_that_cannot_be_is_refused(beside: Path) -> None:
    (beside / "loop").symlink_to(beside / "loop")
    (beside / "file").write_text("no folder")
    settings = Settings(data_dir=beside / "data", import_roots=str(beside))
    for uri in (
        f"{beside}/{'n' * 300}",
        f"{beside}/{'n/' * 3000}",
        f"{beside}/loop",
        f"{beside}/loop/below",
        f"{beside}/file",
        f"{beside}/file/below",
        f"file://{beside}/%00",
        f"{beside}/\0",
        "file://[",
        "file://[::1]/",
        f"file://{beside}/%ff",
        f"{beside}/\ud800",
        "",
        "/",
        "~",
    ):
        with pytest.raises(BadRequest, match="uri: "):
            datasets.import_folder(settings, uri)
