"""The figures for Prometheus that are read from the database and the disk, and so are the same in every process."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from platform import python_version

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.ground.folders import ModelFile
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Dataset, Embedding, Job, Model


class StoredMetrics(Collector):
    """Reads them anew each time."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db

    def collect(self) -> Iterator[Metric]:
        """Raises ``SQLAlchemyError`` where the database does not answer."""
        yield InfoMetricFamily(
            "anchorhood_build", "The version that runs.", {"version": version("anchorhood"), "python": python_version()}
        )
        free = shutil.disk_usage(self._settings.layout.processes).free
        yield GaugeMetricFamily("anchorhood_disk_free_bytes", "Space left on the disk of the data folder.", free)
        with self._db.read() as session:
            yield from _jobs(session)
            yield from _training(session)
            yield from self._indexes(session)

    def _indexes(self, session: Session) -> Iterator[Metric]:
        current = select(Model.directory, Model.images).join(Dataset, Dataset.model_id == Model.id)
        models = session.execute(current).all()
        added = select(func.count()).select_from(Embedding).join(Dataset, Dataset.model_id == Embedding.model_id)
        vectors = sum(images for _, images in models) + (session.scalar(added) or 0)
        size = 0
        for directory, _ in models:
            with suppress(FileNotFoundError):  # compaction has just put another folder in its place
                size += (self._settings.layout.model(directory) / ModelFile.INDEX).stat().st_size
        yield GaugeMetricFamily("anchorhood_models", "Models that answer: the current one of each dataset.", len(models))
        yield GaugeMetricFamily("anchorhood_index_vectors", "Vectors that they search, those added since included.", vectors)
        yield GaugeMetricFamily("anchorhood_index_bytes", "Size of their index files.", size)


def _jobs(session: Session) -> Iterator[Metric]:
    counted = select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status)
    number = {(kind, status): count for kind, status, count in session.execute(counted)}
    jobs = GaugeMetricFamily("anchorhood_jobs", "Jobs by kind and status.", labels=["kind", "status"])
    for kind in JobKind:
        for status in JobStatus:
            jobs.add_metric([kind, status], number.get((kind, status), 0))
    waiting = select(Job.queue, func.count(), func.min(Job.created_at)).where(Job.status == JobStatus.QUEUED).group_by(Job.queue)
    waiting_by_queue = {queue: (count, oldest) for queue, count, oldest in session.execute(waiting)}
    depth = GaugeMetricFamily("anchorhood_queue_depth", "Jobs that wait.", labels=["queue"])
    age = GaugeMetricFamily("anchorhood_queue_oldest_seconds", "Since the oldest of them was submitted.", labels=["queue"])
    moment = now()
    for queue in Queue:
        count, oldest = waiting_by_queue.get(queue, (0, moment))
        depth.add_metric([queue], count)
        age.add_metric([queue], max(0.0, (moment - oldest).total_seconds()))  # clocks may be set back
    return iter((jobs, depth, age))


def _training(session: Session) -> Iterator[Metric]:
    speed = GaugeMetricFamily("anchorhood_training_images_per_second", "Of a job's newest epoch.", labels=["job_id"])
    loss = GaugeMetricFamily("anchorhood_training_loss", "Mean loss of a job's newest epoch.", labels=["job_id"])
    running = select(Job.id, Job.progress).where(Job.kind == JobKind.TRAIN, Job.status == JobStatus.RUNNING)
    for job_id, progress in session.execute(running):
        if progress and "loss" in progress:  # not before its first epoch has ended
            speed.add_metric([job_id], progress["images_per_second"])
            loss.add_metric([job_id], progress["loss"])
    return iter((speed, loss))
