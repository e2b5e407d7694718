"""The ``train`` job: supervise ``python -m trainer``, relay what it reports, and publish what it made."""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import artifacts, datasets, finite, jobs, logs
from core.db import AWAY, Database
from core.errors import BadParameters
from core.jobs import Claim, Event
from core.models import Image, Job, Label, Model
from core.processes import Child
from core.settings import Settings
from worker.output import Output
from worker.publish import discard_unpublished, publish
from worker.pulse import Pulse

log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_PATIENCE = 30.0  # seconds from SIGTERM to SIGKILL: enough to write a checkpoint
_EXIT_BAD_INPUT, _EXIT_STOPPED = 2, 75  # trainer/__main__.py


class TrainerError(RuntimeError):
    """The training process ended with an error of its own."""


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
        job = jobs.get(session, owner.job_id)
    _require_new_images(db, job)
    home = settings.folder("runs") / job.id
    run_dir = artifacts.fresh_folder(home / str(owner.attempt))
    pulse.mark = lambda: newest_mark(home)
    earlier = sorted((path for path in home.iterdir() if path != run_dir and path.is_dir()), key=lambda path: path.name)
    listed = next((path / "images.jsonl" for path in earlier if (path / "images.jsonl").exists()), None)
    if listed:  # images that were added or deleted since must not change what is being trained on
        shutil.copyfile(listed, run_dir / "images.jsonl")
    else:
        write_images(db, settings, job.dataset_id, run_dir / "images.jsonl")
    config = {
        "data": str(run_dir / "images.jsonl"),
        "params": trainer_params(db, settings, job.params),
        "resume": [str(path) for path in earlier],
    }
    (run_dir / "run.json").write_text(json.dumps(config, indent=2))
    relay = _Relay(db, owner, run_dir / "events.jsonl")
    command = ["run", "--config", str(run_dir / "run.json"), "--out", str(run_dir)]
    command += ["--checkpoint-seconds", str(settings.checkpoint_seconds)]
    supervise(db, settings, owner, pulse, run_dir, command, relay)
    jobs.record(db, owner, [("evaluating", {})], None)
    evaluation = _evaluate(db, settings, owner, pulse, run_dir, job)
    discard_unpublished(db, settings, owner)
    publish(db, settings, owner, run_dir, evaluation)
    _tidy(home, keep=run_dir)


def _require_new_images(db: Database, job: Job) -> None:
    """Before hours of training: a held-out set must hold an image that is not trained on."""
    if job.evaluation_dataset_id:
        known = select(Image.sha256).where(Image.dataset_id == job.dataset_id)
        new = select(Image.id).where(datasets.validated(job.evaluation_dataset_id), Image.sha256.not_in(known)).limit(1)
        with db.read() as session:
            if session.scalar(new) is None:
                raise BadParameters("evaluation_dataset_id: every image of it is in the dataset to train on, too")


def trainer_params(db: Database, settings: Settings, params: dict[str, Any]) -> dict[str, Any]:
    """The job's parameters as the trainer takes them: the deployment's device, and a model's weights by their file."""
    result = {"device": settings.device, **params}
    init = str(params.get("init", ""))
    if init.startswith("mdl_"):
        with db.read() as session:
            model = session.get(Model, init)
        if model is None:
            raise BadParameters(f"init: there is no model {init}")
        result["init"] = str(settings.root / "models" / model.directory / "encoder.safetensors")
    return result


def newest_mark(home: Path) -> str | None:
    """The position in the name of the furthest checkpoint of any attempt."""
    names = [path.name.rpartition("-")[0] for path in home.glob("*/checkpoints/r*.pt")]
    return max(names, default=None)


def write_images(db: Database, settings: Settings, dataset_id: str, path: Path, only: Sequence[int] | None = None) -> None:
    """The list of images for the trainer, perhaps of some only: byte ranges in shards, not a word about labels or folders."""
    temporary = path.with_suffix(".tmp")
    root = os.path.relpath(settings.root, path.parent)  # so that a run goes on where the data folder was moved or restored
    with db.read() as session, open(temporary, "w", encoding="utf-8") as file:
        for image in _images(session, dataset_id, only):
            entry = {
                "id": image.id,
                "path": image.sha256,
                "file": f"{root}/{image.shard}",
                "offset": image.offset,
                "length": image.length,
                "sha256": image.sha256,
                "width": image.width,
                "height": image.height,
            }
            file.write(json.dumps(entry) + "\n")
    os.replace(temporary, path)


def _images(session: Session, dataset_id: str, only: Sequence[int] | None) -> Iterator[Image]:
    some = [] if only is None else [Image.id.in_(only)]
    found = select(Image).where(datasets.validated(dataset_id), *some).order_by(Image.id).execution_options(yield_per=1000)
    yield from session.scalars(found)


def supervise(
    db: Database,
    settings: Settings,
    owner: Claim,
    pulse: Pulse,
    run_dir: Path,
    command: Sequence[str],
    relay: "_Relay | None" = None,
) -> None:
    """Run ``python -m trainer`` to its end.

    Raises:
        BadParameters, TrainerError, InterruptedError: as ``run_training``.
    """
    threads = ["--threads", str(settings.threads)] if settings.threads else []
    in_json = settings.log_format == "json"
    context = ["--log-context", json.dumps(logs.about())] if in_json else []
    with Output(run_dir / "trainer.log", shown=in_json) as output:
        child = Child([sys.executable, "-m", "trainer", *command, *threads, *context], log=output.file)
        try:
            while child.process.poll() is None and not pulse.should_stop():
                if relay:
                    relay.try_forward()
                output.show()
                time.sleep(_LOOK_SECONDS)
            if pulse.draining and not pulse.cancelled:
                child.terminate()
            elif pulse.should_stop():
                child.kill()
            code = child.end(_PATIENCE)
        finally:
            child.kill()
            child.close()
    if pulse.should_stop():
        raise InterruptedError
    if relay:
        relay.forward()
    if code in (_EXIT_STOPPED,) or code < 0:
        jobs.lost(db, owner, f"its training process was ended from outside (exit code {code})")
        pulse.stale = True
        raise InterruptedError
    if code:
        message = output.last_words()
        raise BadParameters(message.removeprefix("error: ")) if code == _EXIT_BAD_INPUT else TrainerError(message)


class _Relay:
    """Tails the trainer's event file into the database."""

    def __init__(self, db: Database, owner: Claim, path: Path) -> None:
        self._db, self._owner, self._path = db, owner, path
        self._file: IO[str] | None = None
        self._rest = ""
        self._plan: dict[str, Any] = {}
        self._pending: list[Event] = []
        self._progress: dict[str, Any] | None = None

    def try_forward(self) -> None:
        """A database that is away must not end the training: what was read is kept for the next time."""
        try:
            self.forward()
        except AWAY as error:
            log.warning("%s: the database is away, its events wait: %s", self._owner.job_id, error)

    def forward(self) -> None:
        """Store every complete line that was not stored yet."""
        if self._file is None:
            if not self._path.exists():
                return
            self._file = open(self._path, encoding="utf-8")  # noqa: SIM115 -- lives as long as the run
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            data = finite.loads(line)
            type_ = data.pop("type")
            if type_ == "started":
                self._plan = {"images": data["images"], **data["config"]}
            elif type_ == "epoch":
                self._progress = self._progress_of(data)
            self._pending.append((type_, data))
        if self._pending:
            jobs.record(self._db, self._owner, self._pending, self._progress)
            self._pending = []

    def _progress_of(self, epoch: dict[str, Any]) -> dict[str, Any]:
        later = (epoch["rounds"] - epoch["round"] - 1) * self._plan["epochs"] + epoch["epochs"] - epoch["epoch"] - 1
        names = ("round", "rounds", "epoch", "epochs", "loss", "images_per_second", "anchors")
        eta = later * self._plan["images"] / max(epoch["images_per_second"], 1e-9)
        return {**{name: epoch[name] for name in names}, "eta_seconds": round(eta, 1)}


def _evaluate(db: Database, settings: Settings, owner: Claim, pulse: Pulse, run_dir: Path, job: Job) -> dict[str, Any]:
    config: dict[str, Any] = {"run": str(run_dir), "data": str(run_dir / "images.jsonl")}
    config["labels"] = _write_labels(db, job.dataset_id, run_dir / "labels.json")
    if job.evaluation_dataset_id:
        write_images(db, settings, job.evaluation_dataset_id, run_dir / "held-out.jsonl")
        config["held_out"] = str(run_dir / "held-out.jsonl")
        config["held_out_labels"] = _write_labels(db, job.evaluation_dataset_id, run_dir / "held-out-labels.json")
    (run_dir / "evaluate.json").write_text(json.dumps(config, indent=2))
    result = run_dir / "evaluation.json"
    command = ["evaluate", "--config", str(run_dir / "evaluate.json"), "--out", str(result), "--device", settings.device]
    supervise(db, settings, owner, pulse, run_dir, command)
    evaluation: dict[str, Any] = finite.loads(result.read_text())
    return evaluation


def _write_labels(db: Database, dataset_id: str, path: Path) -> str:
    labelled = select(Label.image_id, Label.label).join(Image, Image.id == Label.image_id)
    with db.read() as session:
        labels = dict(session.execute(labelled.where(Image.dataset_id == dataset_id)).all())
    path.write_text(json.dumps(labels), encoding="utf-8")
    return str(path)


def _tidy(home: Path, keep: Path) -> None:
    """Earlier attempts are of no use any more; the checkpoints at the rounds' ends stay."""
    for path in home.iterdir():
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
