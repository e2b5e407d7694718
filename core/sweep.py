"""Finding the jobs of workers that fell silent."""

import time
from collections.abc import Callable

from sqlalchemy import select

from core.db import Database
from core.jobs import give_back
from core.models import Job, JobStatus, Queue


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
            return give_back(session, job_id, same, "its worker was lost")
