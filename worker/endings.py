"""How a job ends without success, and which of its files are deleted then."""

import logging
import os
import re
import shutil
import time

from core.collections import continuation
from core.collections.intake import end_failed
from core.errors import StaleAttempt
from core.ground.folders import RunFolder
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.store.db import AWAY
from core.store.kinds import JobKind, JobStatus
from worker.pulse import LOOK_SECONDS

_NO_ROOM = "the disk of the data folder or of the database is full; nothing of this job was kept"
_LONGEST = 10_000  # characters of a message that are looked at
_FOLDERS = re.compile(r"(?<![\w./:-])(?<![A-Z] )/(?:[^/\s'\",:;()]+/)+")  # not of a route, as in "GET /datasets/..."
log = logging.getLogger(__name__)


def end_or_release(context: JobContext) -> None:
    """End a job that was cancelled; give one back to the queue whose worker is shutting down."""
    signals = context.signals
    if signals.lost:
        return
    try:
        # The answer to a heartbeat is whether the job was cancelled since the last one.
        signals.cancelled = signals.cancelled or protocol.send_heartbeat(context.db, context.claim)
        if signals.cancelled:
            end_failed(context, JobStatus.CANCELLED, None)
            _delete_all_but_checkpoints(context)
        else:
            protocol.release(context.db, context.claim)
    except StaleAttempt:
        log.warning("%s was lost", context.job_id)


def cancel_if_owned(context: JobContext) -> None:
    """After a refused write: if this attempt still owns the job, it was cancelled just before its end."""
    try:
        end_failed(context, JobStatus.CANCELLED, None)
    except StaleAttempt:
        log.warning("%s has another owner", context.job_id)


def fail(context: JobContext, code: str, message: str) -> None:
    """End the job with an error."""
    try:
        message = without_folders(message[:_LONGEST].replace(f"{context.settings.root}/", "/"))  # clients see it
        end_failed(context, JobStatus.FAILED, {"code": code, "message": message[:2000]})
    except StaleAttempt:
        log.warning("%s was lost before it could fail: %s", context.job_id, message)


def fail_for_room(context: JobContext) -> None:
    """End the job since a disk is full. What it wrote is deleted first, as the database may need the same room. Where that is not
    enough, the worker waits for room: otherwise the reason why the job ended could not be recorded."""
    _delete_work(context)
    while not (context.signals.lost or context.signals.draining):
        try:
            fail(context, "disk_full", _NO_ROOM)
            return
        except AWAY as error:
            log.error("%s: its failure cannot be written yet: %s", context.job_id, error)
            time.sleep(LOOK_SECONDS)


def without_folders(message: str) -> str:
    """A message that names files of this machine without the folders that they lie in."""
    return _FOLDERS.sub("", message)


def _delete_all_but_checkpoints(context: JobContext) -> None:
    """The files of a job that was cancelled; a training can go on from its checkpoints, where it has one."""
    home = context.layout.job(context.job_id)
    goes_on = context.claim.kind is JobKind.TRAIN and continuation.newest(home)
    for path in [RunFolder(attempt).model for attempt in home.glob("*")] if goes_on else [home]:
        shutil.rmtree(path, ignore_errors=True)


def _delete_work(context: JobContext) -> None:
    """The files of a job that is about to fail, but for its logs: nobody else reads them, and no row that others see names them.

    A compaction's shards are named by rows at once, and stay; so does a training whose model is published.
    """
    with context.db.read() as session:
        if context.claim.kind is JobKind.TRAIN and lifecycle.get(session, context.job_id).model_id:
            return
    for folder in context.layout.job(context.job_id).glob("*"):
        for path in folder.glob("*") if folder.is_dir() else [folder]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix != ".log":
                path.unlink(missing_ok=True)
    if context.claim.kind is JobKind.INGEST:  # a file that is still open would keep its room if it were deleted
        for path in context.layout.shards_of_attempt(context.job_id, context.attempt):
            os.truncate(path, 0)
