"""Log lines: what they are about, in both formats, and that no secret is in them."""

import json
import subprocess
import sys
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.ground import logs
from core.jobs import lifecycle, protocol
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import DatasetStatus, JobKind, Queue
from core.store.tables import Dataset

SCRIPT = """
import logging, threading, warnings
from core.ground import logs
logs.configure({format!r})
log = logging.getLogger("some.place")
log.info("before %d", 1)
with logs.with_fields(request_id="r-1", job_id="job_1", attempt=2):
    log.warning("within\\ntwo lines")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("at postgresql://me:hunter2@host/db")
log.info("after")
warnings.warn("careful")
{last}
"""


def written(format: str, last: str = "") -> list[str]:
    script = SCRIPT.format(format=format, last=last)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.stdout
    return done.stderr.splitlines()


def test_json_lines() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in written("json", "raise ValueError('Bearer abc')")]
    first, within, failed, after, warning, uncaught = lines
    assert abs(datetime.fromisoformat(first.pop("time")) - datetime.now(UTC)) < timedelta(minutes=5)
    assert first == {"level": "INFO", "logger": "some.place", "message": "before 1"}
    assert within["level"], within["message"] == ("WARNING", "within\ntwo lines")
    for line in (within, failed):
        assert (line["request_id"], line["job_id"], line["attempt"]) == ("r-1", "job_1", 2)
    assert failed["message"] == "at postgresql://me:***@host/db"
    assert "ZeroDivisionError: division by zero" in failed["exception"]
    assert "job_id" not in after
    assert "careful" in warning["message"]
    assert uncaught["level"] == "CRITICAL"
    assert uncaught["exception"].endswith("ValueError: Bearer ***")


def test_text_lines() -> None:
    lines = written("text")
    assert lines[0].endswith(" INFO some.place: before 1")
    assert lines[1].endswith(" WARNING some.place: within")
    assert lines[2] == "two lines request_id=r-1 job_id=job_1 attempt=2"
    assert lines[3].endswith("at postgresql://me:***@host/db request_id=r-1 job_id=job_1 attempt=2")
    assert "hunter2" not in "".join(lines)


KEY = "ah_7db99b01d09b_r4hWUl3DKIL6Ntks5d5IHvExgJ8HYry91i3V8hIbA0A"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:s3cr/et@host:6379/0 is away", "redis://:***@host:6379/0 is away"),
        ("URL('postgresql+psycopg://me:p%40ss@h/d')", "URL('postgresql+psycopg://me:***@h/d')"),
        (f"key {KEY} is wrong", f"key {KEY[:16]}*** is wrong"),
        ("Authorization: Bearer abc.def, Host: x", "Authorization: ***, Host: x"),
        ("{'authorization': 'Basic YTpi'}", "{'authorization': '***'}"),
        ("connect(host=h password=hunter2 user=me)", "connect(host=h password=*** user=me)"),
        ("http://127.0.0.1:8000/docs and me@example.org", "http://127.0.0.1:8000/docs and me@example.org"),
        ("the password of nobody", "the password of nobody"),
    ],
)
def test_no_secret_is_written(text: str, shown: str) -> None:
    assert logs.redacted(text) == shown


def test_a_job_remembers_the_request_that_made_it_and_hands_it_on(db: Database) -> None:
    def make() -> None:
        logs.set_fields(request_id="r-9")
        with db.write() as session:
            session.add(Dataset(id="ds_1", name="a", status=DatasetStatus.READY, labels="none", created_at=now()))
            session.flush()
            lifecycle.create(session, JobKind.EMBED, "ds_1")

    copy_context().run(make)
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None and owner.request_id == "r-9"
    with logs.with_fields(request_id=owner.request_id), db.write() as session:
        assert lifecycle.create(session, JobKind.COMPACT, "ds_1").request_id == "r-9"
    with db.write() as session:
        assert lifecycle.create(session, JobKind.COMPACT, "ds_1").request_id is None
