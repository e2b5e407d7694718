"""The owner's side of a job while it runs: heartbeats, the checks for cancel and shutdown, and its end."""

import logging
import os
import shutil
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Self

from core.collections import continuation
from core.collections.intake import end_failed
from core.errors import StaleAttempt
from core.jobs import protocol
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import AWAY, Database
from core.store.kinds import JobKind, JobStatus
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
            self.cancelled = self.cancelled or protocol.beat(self._db, self._owner)  # a cancel since the last beat
            if self.cancelled:
                self._end(JobStatus.CANCELLED, None)
                _delete_all_but_checkpoints(self._settings, self._owner)
            else:
                protocol.release(self._db, self._owner)
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
            message = message.replace(f"{self._settings.root}/", "")  # clients see it
            self._end(JobStatus.FAILED, {"code": code, "message": message[:2000]})
        except StaleAttempt:
            log.warning("%s was lost before it could fail: %s", self._owner.job_id, message)

    def fail_for_room(self, message: str) -> None:
        """End the job as a disk is full. What it wrote goes first, since the database may need the same room; where that is not
        enough the worker waits for room: it could do nothing else, and nobody would learn why the job ended."""
        _delete_work(self._settings, self._owner)
        while not (self.stale or self.draining):
            try:
                self.fail("disk_full", message)
                return
            except AWAY as error:
                log.error("%s: its failure cannot be written yet: %s", self._owner.job_id, error)
                self._over.wait(_LOOK_SECONDS)

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
                self.cancelled = protocol.beat(self._db, self._owner, self.mark()) or self.cancelled
            except StaleAttempt:
                self.stale = True
                return
            except Exception:  # a database that is away: the next beat tries again, the sweep judges
                log.exception("no heartbeat for %s", self._owner.job_id)


def _delete_all_but_checkpoints(settings: Settings, owner: Claim) -> None:
    """The files of a job that was cancelled; a training can go on from its checkpoints, where it has one."""
    home = settings.layout.job(owner.job_id)
    useless = home.glob("*/model") if owner.kind is JobKind.TRAIN and continuation.newest(home) else [home]
    for path in useless:
        shutil.rmtree(path, ignore_errors=True)


def _delete_work(settings: Settings, owner: Claim) -> None:
    """The files of a job that is about to fail, but for its logs: nobody else reads them, and no row that others see names them.

    A compaction's shards are named by rows at once, and stay.
    """
    for folder in settings.layout.job(owner.job_id).glob("*"):
        for path in folder.glob("*") if folder.is_dir() else [folder]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix != ".log":
                path.unlink(missing_ok=True)
    if owner.kind is JobKind.INGEST:  # a file that is still open would keep its room if it were deleted
        for path in settings.layout.shards_of_attempt(owner.job_id, owner.attempt):
            os.truncate(path, 0)
