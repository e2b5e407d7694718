"""Log lines: what they are about, in both formats, and that no secret is in them."""

import base64
import json
import random
import re
import subprocess
import sys
import time
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

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
        ("a@b redis://:one@h and http://u:two@three@h", "a@b redis://:***@h and http://u:***@h"),
        ("{'cookie': 'anchorhood=abc'}", "{'cookie': '***'}"),
        ("Failed\nDETAIL:  Failing row contains (7, shoe).\nat", "Failed\nDETAIL:  ***\nat"),
        ("str [type=x, input_value='shoe', input_type=str]", "str [type=x, input_value=***, input_type=str]"),
    ],
)
def test_no_secret_is_written(text: str, shown: str) -> None:
    assert logs.redacted(text) == shown


def spelled(text: str, rng: random.Random) -> str:
    """As a client, a proxy, JSON or ``repr`` may write it: characters raw, quoted for a URL once or more often, or escaped."""
    share = rng.choice((0.0, 0.1, 0.5, 1.0))
    change = rng.choice((str, str.upper, str.lower, str.swapcase))
    quoted = rng.choice(("%", "%25", "%2525", "\\u00", "\\\\u00", "\\x"))
    case = rng.choice((str.upper, str.lower))
    escape = [f"{quoted}{case(f'{ord(char):02x}')}" if rng.random() < share else char for char in change(text)]
    return "".join(escape)


def plain(text: str) -> str:
    """What a reader can make of a line."""
    for _ in range(4):
        text = re.sub(r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), unquote(text))
    return text.lower()


PLACES = (
    "{}",
    "Authorization: Bearer {}",
    "authorization=bearer {},",
    "GET /datasets?name={}&after=3 HTTP/1.1",
    'body {{"key":"{}"}}',
    "ValueError: b'{}' is no key",
    "x{}",
    "%{}",
    "cookie: anchorhood_key={}; other=1",
    "ah_{}",
)


@pytest.mark.parametrize("seed", range(300))
def test_a_key_in_any_spelling_is_not_written(seed: int) -> None:
    rng = random.Random(seed)
    key = f"ah_{rng.randbytes(6).hex()}_{base64.urlsafe_b64encode(rng.randbytes(32)).decode().rstrip('=')}"
    secret = key[16:].lower()
    before, after = ("".join(rng.choices("ah_%25\\u005f xyz@:/?", k=rng.randrange(30))) for _ in range(2))
    text = logs.redacted(f"{before} {rng.choice(PLACES).format(spelled(key, rng))} {after}")
    assert not [start for start in range(36) if secret[start : start + 8] in plain(text)], text


def test_a_long_line_keeps_its_ends_and_no_part_of_a_key() -> None:
    for length in (0, 8000, 8180, 8190, 16_000, 100_000):
        text = logs.redacted(f"begin {'x' * length} {KEY}{'x' * 16_000} {KEY}\nValueError: the end")
        assert text.startswith("begin") and text.endswith("the end") and len(text) < 20_000
        assert KEY[20:30] not in text
    cut_within = logs.redacted("x" * 100_000 + KEY + "y" * 8_150)  # the second half begins in the middle of the key
    assert KEY[-8:] not in cut_within


@pytest.mark.parametrize(
    "piece",
    ["://a:", "a:", "@", "://", "ah_", "%25", "ah%5f0", "authorization ", "bearer ", "\\", "DETAIL:", " \n", "input_value="],
)
def test_redaction_takes_linear_time(piece: str) -> None:
    """Quadratic time would be minutes; the bound is there to be far away."""
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    for pattern, replacement in logs._SECRETS:
        pattern.sub(replacement, text)
    logs._without_password(text)
    logs._without_password(text + "@")
    logs.redacted(text)
    assert time.process_time() - began < 20


def test_no_query_is_in_the_lines_on_requests() -> None:
    last = (
        "logging.getLogger('uvicorn.access').info('%s - \"%s %s HTTP/%s\" %d', '1.2.3.4:5', 'GET', '/a?label=shoe', '1.1', 200)"
    )
    assert '1.2.3.4:5 - "GET /a HTTP/1.1" 200' in written("text", last)[-1]


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


def test_passwords_in_urls_are_masked_in_linear_time() -> None:
    text = "postgresql://me:a:b@host/x?y=redis://:secret@other and http://host:80/path a@b ://u:@h"
    assert logs.redacted(text) == "postgresql://me:***@other and http://host:80/path a@b ://u:@h"
    for hostile in ("://a:", "://", "://a:@", "@", "a"):
        assert logs.redacted(hostile * 100_000)  # a quadratic time would be hours
