"""Finding what crashes left behind: the jobs of workers that fell silent, and files that no row names."""

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.files.layout import attempt_of, first_folder
from core.jobs.protocol import requeue
from core.jobs.uses import uses
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Attention, Dataset, Job, Model

_UPLOAD_SECONDS = 24 * 3600  # without a new byte, after which an upload that no job names never gets one


class Sweep:
    """Gives the jobs of silent workers to others, judged by this process's monotonic clock alone."""

    def __init__(self, db: Database, lost_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._lost_after, self._clock = db, lost_after, clock
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self._looked = clock()

    def run(self, queue: Queue) -> list[str]:
        """Look once; returns the jobs that were taken from their workers."""
        with self._db.read() as session:
            running = session.execute(
                select(Job.id, Job.attempt, Job.heartbeat).where(Job.queue == queue, Job.status == JobStatus.RUNNING)
            ).all()
        moment, seen, lost = self._clock(), self._seen, []
        if moment - self._looked > self._lost_after / 2:
            seen = {}  # nobody looked for a while, perhaps as nobody could: owners get a full span to beat again
        self._seen, self._looked = {}, moment
        for job_id, attempt, heartbeat in running:
            sign = (attempt, heartbeat)
            before, since = seen.get(job_id, (sign, moment))
            since = since if before == sign else moment
            self._seen[job_id] = (sign, since)
            if moment - since >= self._lost_after and self._requeue(job_id, attempt, heartbeat):
                lost.append(job_id)
        return lost

    def _requeue(self, job_id: str, attempt: int, heartbeat: int) -> bool:
        with self._db.write() as session:
            same = (Job.attempt == attempt) & (Job.heartbeat == heartbeat)
            return requeue(session, job_id, same, "its worker was lost")


def delete_orphans(db: Database, settings: Settings) -> list[Path]:
    """Delete the files that a crash, or an end without an owner, has left behind; returns their paths.

    Folders are listed before the rows are read, and every row comes before its files do, so that nothing new is taken.
    """
    layout = settings.layout
    uploads = list(layout.uploads.iterdir())
    shards = list(layout.datasets.glob("ds_*"))
    models = list(layout.models.glob("job_*"))
    runs = list(layout.runs.glob("job_*"))
    maps = list(layout.attention.glob("mdl_*/job_*"))
    with db.read() as session:
        columns = (Job.id, Job.kind, Job.status, Job.dataset_id, Job.evaluation_dataset_id, Job.params, Job.continues)
        every = session.execute(select(*columns, Job.finished_at)).all()
        datasets = set(session.scalars(select(Dataset.id)))
        models_of = dict(session.execute(select(Model.job_id, Model.directory)).all())
        named_maps = {tuple(row) for row in session.execute(select(Attention.model_id, Attention.directory).distinct())}
    db.make_durable()
    published = {first_folder(directory) for directory in models_of.values()}
    unfinished = {job.id for job in every if not JobStatus(job.status).over}
    kept = unfinished | _needed_runs(every, set(models_of), settings.checkpoint_days)
    named = {uses(job).upload for job in every if job.id in unfinished}
    left = [path for path in uploads if path.name not in named and _age(path) > _UPLOAD_SECONDS]
    left += [folder for folder in shards if folder.name not in datasets]
    left += [folder for folder in runs if folder.name not in kept]
    left += [
        folder for folder in models if first_folder(folder.name) not in published and attempt_of(folder.name)[0] not in unfinished
    ]
    left += [
        folder
        for folder in maps
        if (folder.parent.name, folder.name) not in named_maps and attempt_of(folder.name)[0] not in unfinished
    ]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left


def _needed_runs(every: Sequence[Any], with_model: set[str], days: float) -> set[str]:
    """Jobs that are over and whose runs are of use: results, the checkpoints that a model came from, and for some days those
    of a training without success, unless a job that went on from there has succeeded."""
    going_on = {uses(job).checkpoints_of for job in every if not JobStatus(job.status).over}
    done = {uses(job).checkpoints_of for job in every if job.status == JobStatus.SUCCEEDED}
    oldest = now() - timedelta(days=days)
    needed = set()
    for job in every:
        if job.id in going_on:
            keep = True
        elif job.kind != JobKind.TRAIN:
            keep = job.kind != JobKind.COMPACT and job.status != JobStatus.CANCELLED
        elif job.status == JobStatus.SUCCEEDED:
            keep = job.id in with_model
        else:
            keep = job.id not in done and job.finished_at is not None and job.finished_at > oldest
        if keep:
            needed.add(job.id)
    return needed


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
