"""The Celery task that a message starts: it claims jobs one after another until none is left."""

import logging
import os
import socket
from collections.abc import Callable
from functools import cache

from celery import Celery, signals

from core.collections.intake import ingest
from core.errors import DomainError, StaleAttempt, Stopped
from core.files import disk
from core.ground import logs, traces
from core.jobs import protocol
from core.jobs.bell import TASK, Bell, make_app
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store import pools
from core.store.db import AWAY, Database, error_text
from core.store.kinds import JobKind, Queue
from worker import endings, lifeline
from worker.attention import compute_maps
from worker.classify import classify
from worker.compact import compact
from worker.embed import embed
from worker.pulse import Pulse
from worker.training.job import run_training

log = logging.getLogger(__name__)
settings = Settings.load()
app: Celery = make_app(settings)

Handler = Callable[[JobContext], None]
HANDLERS: dict[JobKind, Handler] = {
    JobKind.INGEST: ingest,
    JobKind.TRAIN: run_training,
    JobKind.EMBED: embed,
    JobKind.CLASSIFY: classify,
    JobKind.COMPACT: compact,
    JobKind.ATTENTION: compute_maps,
}


@cache
def _database() -> Database:
    return Database(settings.database, pools.WORKER)


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _instead_of_celerys_own(**_: object) -> None:
    """In the worker and in its pool process."""
    logs.configure(settings.log_format)


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _in_pool_process(**_: object) -> None:
    lifeline.die_when_orphaned()
    traces.configure("anchorhood-worker")


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(queue: str) -> None:
    """Do every claimable job of a queue. The end of each wakes the other queue, where a job may have waited for it."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    while not lifeline.draining(settings) and (claim := protocol.claim(_database(), Queue(queue), name)):
        about: traces.Attributes = {"job_id": claim.job_id, "attempt": claim.attempt}
        with (
            logs.with_fields(request_id=claim.request_id, job_id=claim.job_id, attempt=claim.attempt),
            traces.span(f"{claim.kind} job", claim.trace, **about),
        ):
            perform(_database(), settings, claim)
        Bell(app).ring(Queue.TASKS if queue == Queue.TRAINING else Queue.TRAINING)


def perform(db: Database, settings: Settings, claim: Claim) -> None:
    """Do one job. Whatever happens is recorded in its row, unless the job has another owner by then."""
    log.info("%s attempt %d: %s", claim.job_id, claim.attempt, claim.kind)
    context = JobContext(db, settings, claim)
    with Pulse(context):
        try:
            HANDLERS[claim.kind](context)
        except StaleAttempt as stale:
            log.warning("%s: %s", claim.job_id, stale)
            endings.cancel_if_owned(context)
        except Stopped:
            endings.end_or_release(context)
        except DomainError as error:
            endings.fail(context, error.code, str(error))
        except Exception as error:
            if disk.is_full(settings.root, error):
                endings.fail_for_room(context)
                log.exception("%s: a disk is full", claim.job_id)  # now there may be room for it
            elif isinstance(error, AWAY):
                # The row stays as it is; the sweep gives the job to somebody once the database is back.
                log.error("%s: the database is away: %s", claim.job_id, error)
            else:
                log.exception("%s failed", claim.job_id)
                endings.fail(context, "internal_error", error_text(error))
    log.info("%s attempt %d is over", claim.job_id, claim.attempt)
