"""No number that is none is written as JSON, and no SQL is shown to a client."""

import json
import math
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from core.ground import finite
from core.settings import Settings
from core.store.db import Database, error_text
from core.store.kinds import JobKind
from core.store.tables import Job
from tests.service.serving import ready_dataset

NUMBERS: dict[str, Any] = {"mean": math.nan, "most": [math.inf, -math.inf, 1.5, {"deep": (math.nan, 2)}], "count": 3}
PLAIN = {"mean": None, "most": [None, None, 1.5, {"deep": [None, 2]}], "count": 3}


def test_numbers_that_are_none_are_null() -> None:
    assert json.loads(finite.dumps(NUMBERS), parse_constant=pytest.fail) == PLAIN
    assert finite.loads('{"mean": NaN, "most": [Infinity, -Infinity, 1.5, {"deep": [1e999, 2]}], "count": 3}') == {
        "mean": None,
        "most": [None, None, 1.5, {"deep": [None, 2]}],
        "count": 3,
    }


def test_rows_hold_json_by_its_standard(db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        job = session.scalars(select(Job).where(Job.dataset_id == dataset, Job.kind == JobKind.INGEST)).one()
        job.evaluation = NUMBERS
    with db.read() as session:
        assert session.scalars(select(Job.evaluation).where(Job.id == job.id)).one() == PLAIN
        stored = session.scalar(text("SELECT CAST(evaluation AS TEXT) FROM jobs WHERE id = :id"), {"id": job.id})
    assert json.loads(str(stored), parse_constant=pytest.fail) == PLAIN


def test_an_error_is_told_without_its_statement_and_values(db: Database) -> None:
    with pytest.raises(DBAPIError) as caught, db.write() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "a secret"})
    message = error_text(caught.value)
    assert "nowhere" in message and "secret" not in message and "INSERT" not in message and "\n" not in message
    assert "a secret" not in str(caught.value)  # what a log says
    assert error_text(ValueError("a plain one")) == "ValueError: a plain one"
