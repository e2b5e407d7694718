"""The ``train`` job: supervise ``python -m trainer``, relay what it reports, and publish what it made."""

import json
import shutil
from pathlib import Path
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.collections import continuation, datasets, training
from core.files import artifacts
from core.ground import durable, finite, parameters
from core.ground.folders import RunFolder, checkpoints_in
from core.ground.methods import METHODS
from core.ground.reports import Evaluation, JobProgress, Plan
from core.jobs import lifecycle, reporting
from core.jobs.context import JobContext
from core.store.kinds import JobKind, JobStatus
from core.store.tables import Image, Job, Label, Model
from worker.training.costs import Work
from worker.training.inputs import bring_checkpoints, listed_depths, trainer_params, write_images, write_labels
from worker.training.progress import Estimate, typical
from worker.training.publish import add_evaluation, publish
from worker.training.relay import Relay
from worker.training.supervision import supervise

_REMEMBERED = 5  # earlier jobs whose speed tells what to expect


def run_training(context: JobContext) -> None:
    """Train, index, publish, and judge what was published; judge first where that chooses what is published.

    An attempt writes only ``runs/<job>/<attempt>`` and starts from the newest intact checkpoint of earlier attempts. Where one of
    them has published the model, it is only judged.

    Raises:
        BadParameters: the trainer refused the parameters.
        TrainerError: the trainer crashed.
        Stopped: cancelled, lost, or the worker is shutting down.
        StaleAttempt: the job has another owner.
    """
    with context.db.read() as session:
        job = lifecycle.get(session, context.job_id)
    run = context.layout.run(job.id, context.attempt)
    relay = _relay(context, job, run)
    artifacts.fresh_folder(run.path)
    if job.model_id is None:
        _train(context, job, run, relay)
        if not _chooses(run):
            publish(context, run, None, relay)
    model = _published(context)
    trained = context.layout.run(job.id, model.attempt) if model else run
    reporting.record_events(context.db, context.claim, [{"type": "evaluating"}], None)
    evaluation = _evaluate(context, trained, run, job, relay)
    if model:
        add_evaluation(context, model, evaluation, relay)
    else:
        if evaluation["published_round"] < evaluation["rounds"][-1]["round"]:
            _export(context, run, evaluation["published_round"], relay)
        publish(context, run, evaluation, relay)
    _tidy(context.layout.job(job.id), keep=trained)


def _train(context: JobContext, job: Job, run: RunFolder, relay: Relay) -> None:
    home = context.layout.job(job.id)
    if job.continues:
        bring_checkpoints(context, job, home)
    context.signals.newest_checkpoint = lambda: continuation.newest_position(home)
    earlier = sorted((path for path in home.iterdir() if path != run.path and path.is_dir()), key=lambda path: path.name)
    listed = next((RunFolder(path).images for path in earlier if RunFolder(path).images.exists()), None)
    if listed:  # images that were added or deleted since must not change what is being trained on
        shutil.copyfile(listed, run.images)
    else:
        _require_fit(context, job)
        write_images(context, job.dataset_id, run.images)
    begun = continuation.newest(home)
    config = {
        "data": str(run.images),
        "params": trainer_params(context, job.params, RunFolder.of_checkpoint(begun) if begun else None),
        "resume": [str(path) for path in earlier],
        "extend": bool(job.continues),
    }
    if METHODS[job.params.get("method", "and")].reads_labels:
        taught = next((RunFolder(path).taught for path in earlier if RunFolder(path).taught.exists()), None)
        if taught:
            shutil.copyfile(taught, run.taught)
        else:
            write_labels(context, job.dataset_id, run.taught)
        config["labels"] = str(run.taught)
    run.command("run").write_text(json.dumps(config, indent=2, allow_nan=False))
    command = ["run", "--config", str(run.command("run")), "--out", str(run.path)]
    command += ["--checkpoint-seconds", str(context.settings.checkpoint_seconds)]
    supervise(context, run, command, relay)


def _chooses(run: RunFolder) -> bool:
    """Whether the evaluation chooses what is published (``Work.judged_first``)."""
    config = json.loads(run.config.read_text(encoding="utf-8"))
    return bool(config["init"] != "random" and config["epochs_first"] == 0 and config["rounds"] > 1)


def _published(context: JobContext) -> Model | None:
    """The job's model, where it has one by now."""
    with context.db.read() as session:
        return session.scalar(select(Model).where(Model.job_id == context.job_id))


def _relay(context: JobContext, job: Job, run: RunFolder) -> Relay:
    """What shows from now on how far the job is; it estimates the time left by the speed of earlier jobs."""
    with context.db.read() as session:
        succeeded = select(Job.paces).where(Job.kind == JobKind.TRAIN, Job.status == JobStatus.SUCCEEDED, Job.paces.is_not(None))
        paces = session.scalars(succeeded.order_by(Job.seq.desc()).limit(_REMEMBERED)).all()
        voters = _labelled(session, job.dataset_id)
        queries = _labelled(session, job.evaluation_dataset_id) if job.evaluation_dataset_id else None
        classes = datasets.get(session, job.dataset_id).classes

    def sizes(plan: Plan) -> Work:
        installed = parameters.weights_file() is not None
        return Work(**plan, voters=voters, queries=queries, classes=classes, pretrained=installed)

    relay = Relay(context, run, Estimate(cast("JobProgress | None", job.progress), typical(filter(None, paces))), sizes)
    relay.enter("starting")
    return relay


def _labelled(session: Session, dataset_id: str) -> int:
    labels = select(func.count()).select_from(Label).join(Image, Image.id == Label.image_id)
    return int(session.scalar(labels.where(Image.dataset_id == dataset_id)) or 0)


def _require_fit(context: JobContext, job: Job) -> None:
    """Check again before hours of training: images may have been deleted since the job was accepted."""
    with context.db.read() as session:
        training.require_images(session, job.dataset_id, job.params)
        if job.evaluation_dataset_id:
            training.require_new_images(session, job.dataset_id, job.evaluation_dataset_id)


def _evaluate(context: JobContext, trained: RunFolder, run: RunFolder, job: Job, relay: Relay) -> Evaluation:
    """Judge what an attempt has trained, perhaps an earlier one than this one, whose folder is ``run``."""
    relay.follow(run.evaluation_progress)
    relay.enter("loading")
    config = {"run": str(trained.path), "data": str(trained.images)}
    config["labels"] = write_labels(context, job.dataset_id, run.labels)
    if job.evaluation_dataset_id:
        depths = listed_depths(trained.images)  # the black and white that the encoder was trained with
        write_images(context, job.evaluation_dataset_id, run.held_out, depths=depths)
        config["held_out"] = str(run.held_out)
        config["held_out_labels"] = write_labels(context, job.evaluation_dataset_id, run.held_out_labels)
    run.command("evaluate").write_text(json.dumps(config, indent=2, allow_nan=False))
    result = run.evaluation
    command = ["evaluate", "--config", str(run.command("evaluate")), "--out", str(result), "--device", context.settings.device]
    command += ["--progress", str(run.evaluation_progress)]
    supervise(context, run, command, relay)
    evaluation: Evaluation = finite.loads(result.read_text())
    return evaluation


def _export(context: JobContext, run: RunFolder, number: int, relay: Relay) -> None:
    """Put an earlier round in the place of the last one, which the trainer has left in ``model``."""
    command = ["export", str(run.path), "--data", str(run.images), "--round", str(number)]
    command += ["--out", str(run.earlier), "--device", context.settings.device]
    supervise(context, run, command, relay)
    shutil.rmtree(run.model)
    durable.replace(run.earlier, run.model)


def _tidy(home: Path, keep: RunFolder) -> None:
    """Earlier attempts are of no use any more; the checkpoints at the rounds' ends stay, for attention and for more rounds."""
    for path in home.iterdir():
        if path != keep.path:
            shutil.rmtree(path, ignore_errors=True)
    for position, path in checkpoints_in(keep.checkpoints):
        if position.epoch or position.step:
            path.unlink(missing_ok=True)
