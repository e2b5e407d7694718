"""The owner's side of a job while it runs: heartbeats, the checks for cancel and shutdown, and its end."""

import logging
import shutil
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

from core import jobs
from core.db import Database
from core.errors import StaleAttempt
from core.intake import end_failed
from core.jobs import Claim
from core.models import JobStatus
from core.settings import Settings
from worker import lifeline

log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5


class Pulse:
    """Beats in a thread; ``should_stop()`` turns true on cancel, on shutdown and when the job was lost."""

    def __init__(self, db: Database, settings: Settings, owner: Claim) -> None:
        self._db, self._settings, self._owner = db, settings, owner
        self.mark: Callable[[], str | None] = lambda: None
        self.cancelled = self.stale = self.draining = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._beat,), name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def should_stop(self) -> bool:
        return self.cancelled or self.stale or self.draining

    def give_way(self) -> None:
        """The work stopped because ``should_stop`` said so: end or release the job accordingly."""
        if self.stale:
            return
        try:
            self.cancelled = self.cancelled or jobs.beat(self._db, self._owner)  # a cancel since the last beat
            if self.cancelled:
                self._end(JobStatus.CANCELLED, None)
                shutil.rmtree(self._settings.root / "runs" / self._owner.job_id, ignore_errors=True)
            else:
                jobs.release(self._db, self._owner)
        except StaleAttempt:
            log.warning("%s was lost", self._owner.job_id)

    def ensure_over(self) -> None:
        """After a refused write: if the job is still ours, the refusal was a cancel that came just before the end."""
        try:
            self._end(JobStatus.CANCELLED, None)
        except StaleAttempt:
            log.warning("%s has another owner", self._owner.job_id)

    def fail(self, code: str, message: str) -> None:
        """End the job with an error."""
        try:
            self._end(JobStatus.FAILED, {"code": code, "message": message[:2000]})
        except StaleAttempt:
            log.warning("%s was lost before it could fail: %s", self._owner.job_id, message)

    def _end(self, status: JobStatus, error: dict[str, str] | None) -> None:
        end_failed(self._db, self._settings, self._owner, status, error)

    def _beat(self) -> None:
        waited = 0.0
        while not self._over.wait(_LOOK_SECONDS):
            self.draining = self.draining or lifeline.draining(self._settings)
            waited += _LOOK_SECONDS
            if waited < self._settings.heartbeat_seconds:
                continue
            waited = 0.0
            try:
                self.cancelled = jobs.beat(self._db, self._owner, self.mark()) or self.cancelled
            except StaleAttempt:
                self.stale = True
                return
            except Exception:  # a database that is away: the next beat tries again, the sweep judges
                log.exception("no heartbeat for %s", self._owner.job_id)
