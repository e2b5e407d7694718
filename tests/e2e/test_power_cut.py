"""A power cut at any moment: what was acknowledged before it is there, and nothing is torn.

``strace`` records what the real operations write and sync. The record is replayed, and before everything that syncs something the
power is cut: of what was not synced nothing, all, or a part by chance is on the disk then (``traced``).
"""

import csv
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from core.jobs import protocol
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import Queue
from core.store.tables import Job
from tests.e2e.acknowledged import COUNT, MORE
from tests.e2e.traced import STRACE, Cut, Disk
from tests.service.serving import serving
from worker.tasks import perform

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
Told = list[dict[str, Any]]
_CHANCES = 2  # cuts at each moment of which chance decides what is kept


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the record ``trace`` of what went on in its ``disk``, and the file ``marks``."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "disk").mkdir()
    command = [*STRACE, folder / "trace", sys.executable, "-m", "tests.e2e.acknowledged", folder / "disk/data", folder / "marks"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"processes cannot be traced here: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return folder


def cuts(recorded: Path, tmp_path: Path) -> Iterator[tuple[Cut, Told]]:
    """Every moment before something is synced, with all that was acknowledged until then."""
    pool = tmp_path / "pool"
    pool.mkdir()
    disk, told = Disk(recorded / "disk"), Told()
    cut = Cut(disk, pool)
    for mark in disk.play(recorded / "trace", recorded / "marks"):
        if mark is None:
            yield cut, told
        else:
            told.append(json.loads(mark))
    yield cut, told


def test_the_record_is_complete(recorded: Path, tmp_path: Path) -> None:
    for cut, told in cuts(recorded, tmp_path):
        last = cut, told
    last[0].write(tmp_path / "replayed", "all")
    assert [json.loads(line) for line in (recorded / "marks").read_text().splitlines()] == last[1]
    assert contents(tmp_path / "replayed") == contents(recorded / "disk")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_acknowledged_is_there(recorded: Path, tmp_path: Path) -> None:
    moments = 0
    every = [json.loads(line) for line in (recorded / "marks").read_text().splitlines()]
    for cut, told in cuts(recorded, tmp_path):
        following = every[len(told)] if len(told) < len(every) else {}
        for keep, seed in (("synced", 0), ("all", 0), *(("some", seed) for seed in range(_CHANCES))):
            folder = tmp_path / "cut"
            cut.write(folder, keep, seed=1000 * moments + seed)
            if told:
                try:
                    look(folder / "data", told, following)
                except (AssertionError, OSError, sqlite3.Error) as error:
                    raise AssertionError(f"moment {moments}, {keep} kept, after {told[-1]}: {error!r}") from error
            shutil.rmtree(folder)
        moments += 1
    assert moments > 100


def test_the_service_goes_on_after_it(recorded: Path, tmp_path: Path) -> None:
    """Started on what is certainly on the disk after each acknowledgement: it does the work that waits, and answers."""
    seen = 0
    for cut, told in cuts(recorded, tmp_path):
        fresh, seen = told[seen:], len(told)
        if fresh and not {"label", "key"} & fresh[-1].keys():  # a key would be asked for from then on
            cut.write(tmp_path / "cut", "synced")
            go_on(Settings(data_dir=tmp_path / "cut/data", threads=1), told)
            shutil.rmtree(tmp_path / "cut")


def look(data: Path, told: Told, following: dict[str, Any]) -> None:
    with closing(sqlite3.connect(data / "anchorhood.sqlite3")) as rows:
        rows.row_factory = sqlite3.Row

        def read(statement: str, *values: object) -> list[sqlite3.Row]:
            return rows.execute(statement, values).fetchall()

        assert [row[0] for row in read("PRAGMA integrity_check")] == ["ok"]
        assert len(read("SELECT * FROM alembic_version")) == 1
        require_whole(data, read)
        require_told(data, read, told, following)


Read = Callable[..., list[sqlite3.Row]]


def require_whole(data: Path, read: Read) -> None:
    """What the rows name is there, and is what they say."""
    validated = "SELECT * FROM images WHERE job_id IN (SELECT id FROM jobs WHERE status = 'succeeded')"
    for image in read(validated):
        with open(data / image["shard"], "rb") as file:
            file.seek(image["offset"])
            assert hashlib.sha256(file.read(image["length"])).hexdigest() == image["sha256"], image["path"]
    for job in read("SELECT * FROM jobs"):
        types = [row["type"] for row in read("SELECT type FROM job_events WHERE job_id = ? ORDER BY seq", job["id"])]
        if job["status"] in ("succeeded", "failed", "cancelled"):
            assert types[-1] == job["status"] and types.count(job["status"]) == 1, types
        elif upload := json.loads(job["params"]).get("upload"):
            with zipfile.ZipFile(data / "uploads" / upload) as archive:
                assert archive.testzip() is None
        if (job["kind"], job["status"]) == ("classify", "succeeded"):
            with open(data / "runs" / job["id"] / "classifications.csv", newline="") as file:
                assert len(list(csv.DictReader(file))) == json.loads(job["progress"])["images"]
    for model in read("SELECT * FROM models"):
        folder = data / "models" / model["directory"]
        for name, expected in json.loads((folder / "manifest.json").read_text())["files"].items():
            assert sha256_of(folder / name) == expected["sha256"], name
        checkpoints = list((data / "runs" / model["job_id"]).glob("*/checkpoints/*.pt"))
        assert len(checkpoints) >= 2  # of its rounds
        assert all(sha256_of(path)[:16] in path.name for path in checkpoints)
    for row in read("SELECT * FROM attention"):
        with np.load(data / "attention" / row["model_id"] / row["directory"] / "maps.npz") as maps:
            assert all(np.isfinite(maps[name]).all() for name in maps.files)


def sha256_of(path: Path) -> str:
    return _sha256_of(path, path.stat().st_ino)


@cache
def _sha256_of(path: Path, number: int) -> str:
    """Files of one number are one file, whose content never changes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_told(data: Path, read: Read, told: Told, following: dict[str, Any]) -> None:
    gone = {each.get("gone") for each in told}
    going = {each.get("going") for each in told} - gone
    of_gone = gone | going  # of which each row may be there or not
    jobs = {row["id"]: row for row in read("SELECT * FROM jobs")}
    for each in told:
        match each:
            case {"over": job}:
                if job["dataset_id"] not in of_gone:
                    assert (jobs[job["id"]]["status"], jobs[job["id"]]["model_id"]) == (job["status"], job["model_id"])
            case {"job": id_}:
                assert id_ in jobs
            case {"cancelled": id_}:
                assert jobs[id_]["status"] == "cancelled"
            case {"uploaded": id_} if id_ not in of_gone:
                assert read("SELECT * FROM datasets WHERE id = ?", id_)
            case {"deleted": id_}:
                assert not read("SELECT * FROM images WHERE id = ?", id_)
            case {"named": id_, "name": name}:
                assert [row["name"] for row in read("SELECT name FROM datasets WHERE id = ?", id_)] == [name]
            case {"gone": id_}:
                assert not read("SELECT * FROM datasets WHERE id = ?", id_)
            case {"key": id_}:
                assert read("SELECT * FROM api_keys WHERE id = ?", id_)
    labels = {each["label"]["path"]: each["label"]["label"] for each in told if "label" in each}
    deleted = {each.get("deleted") for each in [*told, following]}
    asked = following.get("label", {})
    for row in read("SELECT path, label, images.id AS id FROM images LEFT JOIN labels ON image_id = images.id"):
        if row["path"] in labels and row["id"] not in deleted:
            allowed = {labels[row["path"]], asked["label"] if asked.get("path") == row["path"] else None}
            assert row["label"] in allowed, row["path"]


def go_on(settings: Settings, told: Told) -> None:
    uploaded = {each["uploaded"] for each in told if "uploaded" in each} - {each.get("going") for each in told}
    with Database(settings.database) as db:
        with db.write() as session:  # as the sweep does after a while
            session.execute(update(Job).where(Job.status == "running").values(status="queued"))
        while owner := protocol.claim(db, Queue.TASKS, "test"):
            perform(db, settings, owner)
        with serving(settings, db) as client:
            for dataset in uploaded:
                found = client.get(f"/datasets/{dataset}").json()
                images = client.get(f"/datasets/{dataset}/images?limit=1000").json()["data"]
                assert found["status"] == "ready" and found["images"] == len(images)
                assert len(images) in (*range(COUNT - 3, COUNT + MORE + 1), 4)
                for image in images:
                    assert client.get(f"/images/{image['id']}/file").status_code == 200
                if found["model_id"]:
                    answer = client.get(f"/neighbours?image_id={images[0]['id']}&k=5")
                    assert answer.status_code == 200 and len(answer.json()["neighbours"]) == 5, answer.text
            for job in (each["over"] for each in told if each.get("over", {}).get("kind") == "classify"):
                assert client.get(f"/jobs/{job['id']}/classifications").status_code == 200
