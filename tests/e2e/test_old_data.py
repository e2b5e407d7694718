"""Data of the version before the sub-packages (``tests/fixtures/make_old_data.py``) in today's: the same answers to every
question, from its data folder, from its backup and from its PostgreSQL database."""

import io
import json
import math
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.e2e.test_backup import anchorhood
from tests.e2e.test_production_urls import database_url
from tests.fixtures.questions import answers
from tests.live import Live
from tests.servers import Production

pytestmark = pytest.mark.slow
__all__ = ["database_url"]  # a fixture

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
TOLERANCE = 1e-6  # of scores: machines sum in different orders
TRAINED_TOLERANCE = 1e-3  # of embeddings after some hundred steps on another machine
LONG = {"checkpoint_days": 36_500}  # what the old version kept is kept, however old it is by now


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """``data/``, ``backup/``, ``postgres.sql`` and ``expected.json`` as the old version left them."""
    with tarfile.open(FIXTURES / "old-data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def expected(old: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((old / "expected.json").read_text())
    return content


@contextmanager
def running(old: Path, data: Path, **settings: object) -> Iterator[Live]:
    """Today's service on old data, asked with its key; a training that goes on needs the old one's narrow network."""
    live = Live(data, **LONG, **settings)
    live.env["PYTHONPATH"] = os.pathsep.join(map(str, (FIXTURES / "narrow", ROOT)))
    live.client.headers["Authorization"] = f"Bearer {expected(old)['key']}"
    try:
        yield live.start()
    finally:
        live.close()


def differences(now: Any, then: Any, where: str = "") -> Iterator[str]:
    """Where two answers differ, numbers by more than ``TOLERANCE``."""
    if isinstance(now, dict) and isinstance(then, dict):
        for name in now.keys() | then.keys():
            if name in now and name in then:
                yield from differences(now[name], then[name], f"{where}.{name}")
            else:
                yield f"{where}.{name} is only {'today' if name in now else 'in the old version'}"
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif isinstance(now, float) and isinstance(then, float):
        if not math.isclose(now, then, rel_tol=0, abs_tol=TOLERANCE):
            yield f"{where}: {now}, was {then}"
    elif now != then:
        yield f"{where}: {now!r}, was {then!r}"


def in_todays_form(answer: dict[str, Any]) -> dict[str, Any]:
    """An old answer as today's service puts it: a leave-one-out evaluation told a matrix of all classes."""
    body = answer.get("body")
    if not isinstance(body, dict) or "confusion" not in body:
        return answer
    body = dict(body)
    names, matrix = body.pop("classes"), body.pop("confusion")
    classes = [
        {"label": name, "judged": sum(row), "right": row[at]} for at, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]
    confusions = [
        {"label": label, "voted": voted, "count": count}
        for label, row in zip(names, matrix, strict=True)
        for voted, count in zip(names, row, strict=True)
        if count and voted != label
    ]
    classes.sort(key=lambda one: (-one["judged"], one["label"]))
    confusions.sort(key=lambda one: (-one["count"], one["label"], one["voted"]))
    told = {"classes": classes, "class_count": len(classes), "confusions": confusions, "confusion_count": len(confusions)}
    return {**answer, "body": {**body, **told}}


def require_same(now: dict[str, Any], then: dict[str, Any], of: Callable[[str], bool] = lambda request: True) -> None:
    assert [request for request in then if of(request)] == [request for request in now if of(request)]
    asked = [request for request in then if of(request)]
    found = [each for request in asked for each in differences(now[request], in_todays_form(then[request]), request)]
    assert not found, "\n".join(found[:40])


def test_a_data_folder_opens_and_goes_on(old: Path) -> None:
    then = expected(old)
    jobs = then["answers"]["/jobs?limit=1000"]["body"]["data"]
    first = next(job for job in jobs if job["kind"] == "train" and job["evaluation"])
    cancelled = next(job for job in jobs if job["kind"] == "train" and job["status"] == "cancelled")
    with running(old, old / "data") as live:
        require_same(answers(live.client), then["answers"])
        assert live.client.post(f"/jobs/{first['id']}/continue", json={"add_rounds": 1}).json() == then["refused"]
        assert anchorhood(live, "doctor")["ok"]

        compaction = live.client.post(f"/datasets/{first['dataset_id']}/compactions").json()
        assert live.finished(compaction["id"])["status"] == "succeeded"
        require_same(answers(live.client), then["answers"], lambda request: request.startswith("/neighbours?"))

        again = live.client.post(f"/jobs/{cancelled['id']}/continue", json={})
        assert again.status_code == 202, again.text
        continued = live.finished(again.json()["id"])
        assert continued["status"] == "succeeded", continued
        began = next(event["data"] for event in live.events(continued["id"]) if event["type"] == "started")
        assert began["resumed_at"] is not None
        embeddings = np.load(io.BytesIO(live.client.get(f"/models/{continued['model_id']}/files/embeddings.npy").content))
        np.testing.assert_allclose(embeddings, np.array(then["continued"]), rtol=0, atol=TRAINED_TOLERANCE)


def test_a_backup_is_restored(old: Path) -> None:
    restored = Live(old / "restored", **LONG)
    anchorhood(restored, "restore", str(old / "backup"))
    with running(old, old / "restored") as live:
        require_same(answers(live.client), expected(old)["answers"])
        assert anchorhood(live, "doctor")["ok"]


@pytest.mark.postgres
def test_a_postgresql_database_is_migrated(old: Path, database_url: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        connection.execute((old / "postgres.sql").read_bytes())
    (old / "data" / "anchorhood.sqlite3").unlink()
    Production(old / "data", database_url, broker_url="").migrate()
    with running(old, old / "data", database_url=database_url) as live:
        require_same(answers(live.client), expected(old)["answers"])
