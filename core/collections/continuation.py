"""Continuing a finished training job from its checkpoints, as a job of its own. ``runs/<job>`` keeps the checkpoints as long as
the job's model exists, and for some days where it failed or was cancelled (``core/jobs/sweep.py``)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.collections import datasets
from core.errors import BadParameters, CannotContinue, DatasetNotReady
from core.ground.folders import RunFolder, checkpoints_of_job
from core.ground.methods import METHODS
from core.ground.parameters import MOST_ROUNDS
from core.jobs import lifecycle
from core.jobs.uses import continued_by
from core.settings import Settings
from core.store.kinds import DatasetStatus, JobKind, JobStatus
from core.store.tables import Image, Job

_READ = 4096  # bytes from the end of a list of images: more than its last line has

ContinuationKind = Literal["resume", "more_rounds"]


@dataclass(frozen=True)
class Plan:
    """What a job that goes on from another one is made with."""

    job: Job  # the other one
    params: dict[str, Any]  # JSON


def newest(home: Path) -> Path | None:
    """The furthest checkpoint of any attempt at a job, by its position."""
    checkpoints = checkpoints_of_job(home)
    return checkpoints[-1][1] if checkpoints else None


def newest_position(home: Path) -> str | None:
    """The position in the training of the furthest checkpoint."""
    checkpoints = checkpoints_of_job(home)
    return str(checkpoints[-1][0]) if checkpoints else None


def continuation_kind(settings: Settings, job: Job) -> ContinuationKind | None:
    """How a job can be continued now: one that did not succeed is resumed, one that succeeded is given more rounds."""
    if job.kind != JobKind.TRAIN or not JobStatus(job.status).over:
        return None
    if _trains_nothing(job) and job.status == JobStatus.SUCCEEDED:
        return None
    furthest = newest(settings.layout.job(job.id))
    if furthest is None:
        return None
    if job.status != JobStatus.SUCCEEDED:
        return "resume"
    rounds = _rounds(furthest)
    return "more_rounds" if rounds is not None and rounds < MOST_ROUNDS else None


def plan(session: Session, settings: Settings, job_id: str, add_rounds: int | None) -> Plan:
    """How to go on with a job; reads files.

    Raises:
        JobNotFound: no such job.
        CannotContinue: it is not over, has no checkpoint, can be continued only the other way (with or without
            ``add_rounds``), or images that it was trained on were deleted.
        BadParameters: more rounds than a training may have.
    """
    job = lifecycle.get(session, job_id)
    if job.kind != JobKind.TRAIN:
        raise CannotContinue(f"{job_id} is a job of kind {job.kind}; only training has checkpoints to go on from")
    if not JobStatus(job.status).over:
        raise CannotContinue(f"{job_id} is {job.status}; it can be continued when it is over")
    if _trains_nothing(job) and add_rounds is not None:
        raise CannotContinue(f"{job_id} trains nothing (method: {job.params['method']}) and has no rounds to add; train anew")
    furthest = newest(settings.layout.job(job.id))
    if furthest is None:
        raise CannotContinue(f"{job_id} has no checkpoint to go on from: it ended before the first one, or they were deleted")
    if (job.status == JobStatus.SUCCEEDED) != (add_rounds is not None):
        needed = "succeeded: add_rounds says how many more" if add_rounds is None else f"{job.status}: leave add_rounds out"
        raise CannotContinue(f"{job_id} {needed}")
    _require_images(session, job, RunFolder.of_checkpoint(furthest).images)
    params = job.params
    if add_rounds is not None:
        rounds = _rounds(furthest)
        if rounds is None:
            raise CannotContinue(f"{job_id}: the configuration beside its checkpoints is gone")
        if rounds + add_rounds > MOST_ROUNDS:
            raise BadParameters(f"add_rounds: {rounds} rounds and {add_rounds} more are over {MOST_ROUNDS}, the most allowed")
        params = {**params, "rounds": rounds + add_rounds}
    return Plan(job, params)


def create(session: Session, plan: Plan) -> Job:
    """Queue the job that goes on.

    Raises:
        DatasetNotFound, DatasetNotReady: its dataset was deleted, or is being deleted.
        CannotContinue: another job is going on from there already.
    """
    earlier_job = plan.job
    for dataset_id in sorted(id_ for id_ in (earlier_job.dataset_id, earlier_job.evaluation_dataset_id) if id_):
        if datasets.get_for_job(session, dataset_id).status == DatasetStatus.FAILED:
            raise DatasetNotReady(f"{dataset_id} is of no use any more")
    if (other := continued_by(session, earlier_job.id)) is not None:
        raise CannotContinue(f"{earlier_job.id} is being continued by {other}")
    return lifecycle.create(
        session,
        JobKind.TRAIN,
        earlier_job.dataset_id,
        params=plan.params,
        evaluation_dataset_id=earlier_job.evaluation_dataset_id,
        name=earlier_job.name,
        metadata=earlier_job.job_metadata,
        continues=earlier_job.id,
    )


def _trains_nothing(job: Job) -> bool:
    return not METHODS[job.params.get("method", "and")].trains


def _rounds(checkpoint: Path) -> int | None:
    """The number of rounds that its run was to have."""
    try:
        return int(json.loads(RunFolder.of_checkpoint(checkpoint).config.read_text(encoding="utf-8"))["rounds"])
    except (OSError, ValueError, KeyError):
        return None


def _require_images(session: Session, job: Job, listed: Path) -> None:
    """Raises ``CannotContinue`` where an image of the list was deleted; those added since have larger ids."""
    try:
        with open(listed, "rb") as file:
            count = sum(1 for _ in file)
            file.seek(max(0, file.tell() - _READ))
            last = int(json.loads(file.read().splitlines()[-1])["id"])
    except (OSError, ValueError, IndexError) as error:
        raise CannotContinue(f"{job.id}: the list of images beside its checkpoints is gone") from error
    remaining = select(func.count()).select_from(Image).where(datasets.is_validated_image(job.dataset_id), Image.id <= last)
    if (deleted := count - int(session.scalar(remaining) or 0)) > 0:
        raise CannotContinue(
            f"{deleted} of the {count:,} images that {job.id} was trained on were deleted, and its checkpoints hold a row for"
            " each; train anew"
        )
