"""What crashes leave behind: jobs of workers that send no heartbeat any more, and files that no row names."""

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.files.layout import attempt_of, first_folder
from core.jobs.protocol import requeue
from core.jobs.uses import COLUMNS, Uses, uses_of_columns
from core.settings import Settings
from core.store.audit import Audit
from core.store.columns import now
from core.store.db import BATCH, Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Attention, Dataset, Job, Model

_UPLOAD_SECONDS = 24 * 3600  # without a new byte, after which an upload that no job names never gets one


class Sweep:
    """Requeues the jobs of workers that send no heartbeat. Only this process's monotonic clock measures the time."""

    def __init__(self, db: Database, lost_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._lost_after, self._clock = db, lost_after, clock
        # By job: the newest attempt and heartbeat, and when this process first read them.
        self._heartbeats: dict[str, tuple[tuple[int, int], float]] = {}
        self._last_run = clock()

    def run(self, queue: Queue) -> list[str]:
        """Requeue the jobs of a queue whose heartbeat has not changed for too long; returns their ids."""
        with self._db.read() as session:
            running = session.execute(
                select(Job.id, Job.attempt, Job.heartbeat).where(Job.queue == queue, Job.status == JobStatus.RUNNING)
            ).all()
        moment, before, lost = self._clock(), self._heartbeats, []
        if moment - self._last_run > self._lost_after / 2:
            # The sweep itself was away for a while, perhaps with the database: owners get a full span to send a heartbeat again.
            before = {}
        self._heartbeats, self._last_run = {}, moment
        for job_id, attempt, heartbeat in running:
            last, since = before.get(job_id, ((attempt, heartbeat), moment))
            since = since if last == (attempt, heartbeat) else moment
            self._heartbeats[job_id] = ((attempt, heartbeat), since)
            if moment - since >= self._lost_after and self._requeue(job_id, attempt, heartbeat):
                lost.append(job_id)
        return lost

    def _requeue(self, job_id: str, attempt: int, heartbeat: int) -> bool:
        with self._db.write() as session:
            unchanged = (Job.attempt == attempt) & (Job.heartbeat == heartbeat)
            return requeue(session, job_id, unchanged, "its worker was lost")


class _Job(NamedTuple):
    """The columns of a job that decide which files are kept."""

    id: str
    kind: str
    status: JobStatus
    finished_at: datetime | None
    uses: Uses


def delete_orphans(db: Database, settings: Settings) -> list[Path]:
    """Delete the files that a crash, or an end without an owner, has left behind; returns their paths.

    Folders are listed before the rows are read, and every row is written before its files, so that no new file is deleted.
    """
    layout = settings.layout
    uploads = list(layout.uploads.iterdir())
    shards = [*layout.datasets.glob("ds_*"), *layout.thumbnails.glob("ds_*")]
    models = list(layout.models.glob("job_*"))
    runs = list(layout.runs.glob("job_*"))
    maps = list(layout.attention.glob("mdl_*/job_*"))
    with db.read() as session:
        jobs = _jobs(session)
        datasets = set(session.scalars(select(Dataset.id)))
        models_of = dict(session.execute(select(Model.job_id, Model.directory)).all())
        named_maps = {tuple(row) for row in session.execute(select(Attention.model_id, Attention.directory).distinct())}
    published = {first_folder(directory) for directory in models_of.values()}
    unfinished = {job.id for job in jobs if not job.status.over}
    kept = unfinished | _needed_runs(jobs, set(models_of), settings.checkpoint_days)
    named_uploads = {job.uses.upload for job in jobs if job.id in unfinished}
    orphans = [path for path in uploads if path.name not in named_uploads and _age(path) > _UPLOAD_SECONDS]
    orphans += [folder for folder in shards if folder.name not in datasets]
    orphans += [folder for folder in runs if folder.name not in kept]
    orphans += [
        folder for folder in models if first_folder(folder.name) not in published and attempt_of(folder.name)[0] not in unfinished
    ]
    orphans += [
        folder
        for folder in maps
        if (folder.parent.name, folder.name) not in named_maps and attempt_of(folder.name)[0] not in unfinished
    ]
    for path in orphans:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return orphans


def delete_old_audit(db: Database, days: int) -> int:
    """Delete the lines of the audit trail that are older than so many days, a batch at a time; returns how many."""
    oldest, deleted = now() - timedelta(days=days), 0
    while True:
        with db.write() as session:
            batch = session.scalars(select(Audit.id).where(Audit.created_at < oldest).limit(BATCH)).all()
            session.execute(delete(Audit).where(Audit.id.in_(batch)))
        deleted += len(batch)
        if len(batch) < BATCH:
            return deleted


def _jobs(session: Session) -> list[_Job]:
    rows = session.execute(select(Job.id, Job.kind, Job.status, Job.finished_at).add_columns(*COLUMNS))
    return [_Job(id_, kind, JobStatus(status), end, uses_of_columns(*needs)) for id_, kind, status, end, *needs in rows]


def _needed_runs(jobs: Sequence[_Job], with_model: set[str], days: float) -> set[str]:
    """The finished jobs whose runs are kept: those with results or with the checkpoints of a model and, for some days, trainings
    that did not succeed, unless another job continued them with success."""
    continued = {job.uses.checkpoints_of for job in jobs if not job.status.over}
    done = {job.uses.checkpoints_of for job in jobs if job.status == JobStatus.SUCCEEDED}
    oldest = now() - timedelta(days=days)
    needed = set()
    for job in jobs:
        if job.id in continued:
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
