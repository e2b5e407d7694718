"""What a job's error tells a client: no folders of the machine, and no SQL."""

import pytest
from sqlalchemy import text

from core.jobs import protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, Queue
from tests.core.jobs.made import make_dataset, make_job
from worker import tasks
from worker.endings import without_folders


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("[Errno 13] Permission denied: '/opt/data/runs/x.jsonl'", "[Errno 13] Permission denied: 'x.jsonl'"),
        ("/usr/lib/python3/site.py:3: broken (/a/b.so, /c/d/e)", "site.py:3: broken (b.so, e)"),
        ("no usable image; GET /datasets/ds_1/rejections says why", "no usable image; GET /datasets/ds_1/rejections says why"),
        ("1/2 of a/b.png is no image", "1/2 of a/b.png is no image"),
    ],
)
def test_messages_name_files_without_their_folders(message: str, told: str) -> None:
    assert without_folders(message) == told


def test_an_error_of_a_job_holds_neither_sql_nor_paths(db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(db)

    def of_the_database(context: JobContext) -> None:
        with context.db.write() as session:
            session.execute(text("INSERT INTO labels VALUES (:image, :label)"), {"image": 10**6, "label": "a secret"})

    def of_the_disk(context: JobContext) -> None:
        (context.layout.root / "there" / "is none.csv").read_bytes()

    for broken in (of_the_database, of_the_disk):
        job = make_job(db, kind=JobKind.CLASSIFY)
        monkeypatch.setitem(tasks.HANDLERS, JobKind.CLASSIFY, broken)
        owner = protocol.claim(db, Queue.TASKS, "w")
        assert owner is not None
        tasks.perform(db, settings, owner)
        with db.read() as session:
            stored = session.execute(text("SELECT CAST(error AS TEXT) FROM jobs WHERE id = :id"), {"id": job}).scalar()
        assert "internal_error" in stored
        for private in ("INSERT", "secret", str(settings.root), "10000000", "there/"):
            assert private not in stored
