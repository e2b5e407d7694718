"""The ``train`` job: supervise ``python -m trainer``, relay what it reports, and publish what it made."""

import json
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.collections import continuation, datasets, training
from core.files import artifacts
from core.ground import finite, pretrained
from core.jobs import lifecycle, reporting
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Image, Job, Label
from worker.pulse import Pulse
from worker.training.costs import Work
from worker.training.inputs import bring_checkpoints, listed_depths, trainer_params, write_images, write_labels
from worker.training.progress import Estimate, typical
from worker.training.publish import discard_unpublished, publish
from worker.training.relay import Relay
from worker.training.supervision import supervise

_REMEMBERED = 5  # earlier jobs whose speed tells what to expect


def run_training(db: Database, settings: Settings, owner: Claim, pulse: Pulse) -> None:
    """Train, evaluate, index, publish.

    An attempt writes only ``runs/<job>/<attempt>`` and starts from the newest intact checkpoint of earlier attempts.

    Raises:
        BadParameters: the trainer refused the parameters.
        TrainerError: the trainer crashed.
        InterruptedError: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    with db.read() as session:
        job = lifecycle.get(session, owner.job_id)
    home = settings.folder("runs") / job.id
    relay = _relay(db, owner, job, home / str(owner.attempt))
    if job.continues:
        bring_checkpoints(db, settings, job, home)
    run_dir = artifacts.fresh_folder(home / str(owner.attempt))
    pulse.mark = lambda: continuation.mark(home)
    earlier = sorted((path for path in home.iterdir() if path != run_dir and path.is_dir()), key=lambda path: path.name)
    listed = next((path / "images.jsonl" for path in earlier if (path / "images.jsonl").exists()), None)
    if listed:  # images that were added or deleted since must not change what is being trained on
        shutil.copyfile(listed, run_dir / "images.jsonl")
    else:
        _require_fit(db, job)
        write_images(db, settings, job.dataset_id, run_dir / "images.jsonl")
    begun = continuation.newest(home)
    config = {
        "data": str(run_dir / "images.jsonl"),
        "params": trainer_params(db, settings, job.params, begun.parent.parent if begun else None),
        "resume": [str(path) for path in earlier],
        "extend": bool(job.continues),
    }
    (run_dir / "run.json").write_text(json.dumps(config, indent=2))
    command = ["run", "--config", str(run_dir / "run.json"), "--out", str(run_dir)]
    command += ["--checkpoint-seconds", str(settings.checkpoint_seconds)]
    supervise(db, settings, owner, pulse, run_dir, command, relay)
    reporting.record_events(db, owner, [("evaluating", {})], None)
    evaluation = _evaluate(db, settings, owner, pulse, run_dir, job, relay)
    if evaluation["published_round"] < evaluation["rounds"][-1]["round"]:
        _export(db, settings, owner, pulse, run_dir, evaluation["published_round"], relay)
    discard_unpublished(db, settings, owner)
    publish(db, settings, owner, run_dir, evaluation, relay)
    _tidy(home, keep=run_dir)


def _relay(db: Database, owner: Claim, job: Job, run_dir: Path) -> Relay:
    """Tells from now on how far the job is, by the speed of the jobs before it."""
    with db.read() as session:
        succeeded = select(Job.paces).where(Job.kind == JobKind.TRAIN, Job.status == JobStatus.SUCCEEDED, Job.paces.is_not(None))
        paces = session.scalars(succeeded.order_by(Job.seq.desc()).limit(_REMEMBERED)).all()
        voters = _labelled(session, job.dataset_id)
        queries = _labelled(session, job.evaluation_dataset_id) if job.evaluation_dataset_id else None
        classes = datasets.get(session, job.dataset_id).classes

    def sizes(plan: dict[str, Any]) -> Work:
        installed = pretrained.weights_file() is not None
        return Work(**plan, voters=voters, queries=queries, classes=classes, pretrained=installed)

    relay = Relay(db, owner, run_dir, Estimate(job.progress, typical(filter(None, paces))), sizes)
    relay.enter("starting")
    return relay


def _labelled(session: Session, dataset_id: str) -> int:
    labels = select(func.count()).select_from(Label).join(Image, Image.id == Label.image_id)
    return int(session.scalar(labels.where(Image.dataset_id == dataset_id)) or 0)


def _require_fit(db: Database, job: Job) -> None:
    """Before hours of training: images may have been deleted since the job was accepted."""
    with db.read() as session:
        training.require_images(session, job.dataset_id, job.params)
        if job.evaluation_dataset_id:
            training.require_new_images(session, job.dataset_id, job.evaluation_dataset_id)


def _evaluate(
    db: Database, settings: Settings, owner: Claim, pulse: Pulse, run_dir: Path, job: Job, relay: Relay
) -> dict[str, Any]:
    relay.follow(run_dir / "evaluation-progress.jsonl")
    relay.enter("loading")
    config: dict[str, Any] = {"run": str(run_dir), "data": str(run_dir / "images.jsonl")}
    config["labels"] = write_labels(db, job.dataset_id, run_dir / "labels.json")
    if job.evaluation_dataset_id:
        depths = listed_depths(run_dir / "images.jsonl")  # as the encoder has learned to see
        write_images(db, settings, job.evaluation_dataset_id, run_dir / "held-out.jsonl", depths=depths)
        config["held_out"] = str(run_dir / "held-out.jsonl")
        config["held_out_labels"] = write_labels(db, job.evaluation_dataset_id, run_dir / "held-out-labels.json")
    (run_dir / "evaluate.json").write_text(json.dumps(config, indent=2))
    result = run_dir / "evaluation.json"
    command = ["evaluate", "--config", str(run_dir / "evaluate.json"), "--out", str(result), "--device", settings.device]
    command += ["--progress", str(run_dir / "evaluation-progress.jsonl")]
    supervise(db, settings, owner, pulse, run_dir, command, relay)
    evaluation: dict[str, Any] = finite.loads(result.read_text())
    return evaluation


def _export(db: Database, settings: Settings, owner: Claim, pulse: Pulse, run_dir: Path, number: int, relay: Relay) -> None:
    """Put an earlier round in the place of the last one, which the trainer has left in ``model``."""
    command = ["export", str(run_dir), "--data", str(run_dir / "images.jsonl"), "--round", str(number)]
    command += ["--out", str(run_dir / "earlier"), "--device", settings.device]
    supervise(db, settings, owner, pulse, run_dir, command, relay)
    shutil.rmtree(run_dir / "model")
    (run_dir / "earlier").rename(run_dir / "model")


def _tidy(home: Path, keep: Path) -> None:
    """Earlier attempts are of no use any more; the checkpoints at the rounds' ends stay, for attention and for more rounds."""
    for path in home.iterdir():
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
    for path in (keep / "checkpoints").glob("r*.pt"):
        if "-e00000-s000000-" not in path.name:
            path.unlink(missing_ok=True)
