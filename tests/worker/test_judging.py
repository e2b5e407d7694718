"""A model answers while it is judged, and stays whatever becomes of judging it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from core.collections import continuation, published
from core.errors import ModelInUse
from core.files import manifest
from core.ground.reports import Evaluation
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.search.searcher import Searcher
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Dataset, Job, JobEvent, Model
from tests.live import TINY
from tests.service.serving import ready_dataset
from worker.tasks import perform
from worker.training import job as training

pytestmark = pytest.mark.slow
ON_SQLITE = pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # what the rows say then: tests/core/jobs/test_protocol.py
Beforehand = Callable[[JobContext], None]


def submitted(db: Database, settings: Settings) -> str:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        return lifecycle.create(session, JobKind.TRAIN, dataset, params=dict(TINY)).id


def attempt(db: Database, settings: Settings) -> Claim:
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None
    perform(db, settings, owner)
    return owner


def row(db: Database, job: str) -> Job:
    with db.read() as session:
        return lifecycle.get(session, job)


def types(db: Database, job: str) -> list[str]:
    with db.read() as session:
        return list(session.scalars(select(JobEvent.type).where(JobEvent.job_id == job).order_by(JobEvent.seq)))


def told(db: Database, settings: Settings) -> tuple[Model, dict[str, Any]]:
    """The only model, and its manifest."""
    with db.read() as session:
        model = session.scalars(select(Model)).one()
    return model, manifest.read(settings.layout.model(model.directory), hashes=True)


@pytest.fixture
def before_judging(monkeypatch: pytest.MonkeyPatch) -> Callable[[Beforehand], None]:
    """Have something happen right before the model is judged, for once."""
    judge = training._evaluate

    def install(happens: Beforehand) -> None:
        def first(context: JobContext, *rest: Any) -> Evaluation:
            monkeypatch.setattr(training, "_evaluate", judge)
            happens(context)
            return judge(context, *rest)

        monkeypatch.setattr(training, "_evaluate", first)

    return install


def test_it_answers_while_it_is_judged(db: Database, settings: Settings, before_judging: Callable[[Beforehand], None]) -> None:
    job, seen = submitted(db, settings), []

    def look(context: JobContext) -> None:
        now, (model, content) = row(db, job), told(db, settings)
        with db.read() as session:
            current = session.scalars(select(Dataset.model_id)).one()
        view = Searcher(settings, db).view(dataset_id=now.dataset_id)
        assert (now.status, now.model_id, now.evaluation, content["evaluation"]) == ("running", model.id, None, None)
        assert current == view.model_id == model.id
        with db.write() as session:
            session.execute(update(Dataset).values(model_id=None))
        with pytest.raises(ModelInUse, match=f"{job} needs {model.id}"):  # even where it is not current
            published.remove(db, settings, model.id)
        with db.write() as session:
            session.execute(update(Dataset).values(model_id=model.id))
        seen.append(model.id)

    before_judging(look)
    attempt(db, settings)
    now, (model, content) = row(db, job), told(db, settings)
    assert seen == [model.id] == [now.model_id]
    assert now.status == JobStatus.SUCCEEDED and now.evaluation
    assert content["evaluation"] == now.evaluation
    assert content["round"] == now.evaluation["published_round"] == 1
    assert types(db, job)[-3:] == ["published", "evaluating", "succeeded"]


@ON_SQLITE
def test_cancelled_while_it_is_judged_it_stays(
    db: Database, settings: Settings, before_judging: Callable[[Beforehand], None]
) -> None:
    job = submitted(db, settings)

    def cancel(context: JobContext) -> None:
        with db.write() as session:
            lifecycle.request_cancel(session, job)
        context.signals.cancelled = True  # what the next heartbeat would set

    before_judging(cancel)
    attempt(db, settings)
    now, (model, content) = row(db, job), told(db, settings)
    assert (now.status, now.model_id, now.evaluation, now.error) == (JobStatus.SUCCEEDED, model.id, None, None)
    assert content["evaluation"] is None
    assert types(db, job).count("succeeded") == 1 and "cancelled" not in types(db, job)
    assert continuation.continuation_kind(settings, now) == "more_rounds", "its checkpoints stay"


@ON_SQLITE
def test_a_judge_that_fails_leaves_the_model(
    db: Database, settings: Settings, before_judging: Callable[[Beforehand], None]
) -> None:
    job = submitted(db, settings)

    def damage(context: JobContext) -> None:
        for path in Path(settings.layout.job(job)).glob("*/checkpoints/*.pt"):
            path.write_bytes(b"damaged")

    before_judging(damage)
    attempt(db, settings)
    now, (model, _) = row(db, job), told(db, settings)
    assert (now.status, now.model_id, now.evaluation) == (JobStatus.SUCCEEDED, model.id, None)
    assert now.error and "no checkpoint of a finished round" in now.error["message"]


def test_what_was_lost_while_it_judged_is_only_judged_again(
    db: Database, settings: Settings, before_judging: Callable[[Beforehand], None]
) -> None:
    job = submitted(db, settings)

    def lose(context: JobContext) -> None:
        protocol.abandon(db, context.claim, "killed")
        context.signals.lost = True

    before_judging(lose)
    first = attempt(db, settings)
    assert row(db, job).status == JobStatus.QUEUED and row(db, job).model_id
    second = attempt(db, settings)
    now, (model, content) = row(db, job), told(db, settings)
    assert (first.attempt, second.attempt, model.attempt) == (1, 2, 1)
    assert now.status == JobStatus.SUCCEEDED and now.evaluation and content["evaluation"] == now.evaluation
    happened = types(db, job)
    assert (happened.count("started"), happened.count("published"), happened.count("evaluating")) == (1, 1, 2)
    kept = [path.name for path in settings.layout.job(job).iterdir()]
    assert kept == ["1"], "what its attention and more rounds are made from"
    assert continuation.continuation_kind(settings, now) == "more_rounds"
