"""``python -m worker --queue training|tasks``: one Celery worker, with the sweep beside it."""

import argparse
import logging
import os
import sys
import threading
import time
from pathlib import Path

from celery import signals

from core.collections import embedding
from core.ground import logs
from core.ground.processes import PRIVATE, die_with_parent
from core.jobs.bell import Bell
from core.jobs.protocol import has_claimable_job
from core.jobs.sweep import Sweep, delete_old_audit, delete_orphans
from core.store import pools
from core.store.db import Database
from core.store.kinds import Queue
from worker.tasks import app, settings

log = logging.getLogger(__name__)
_COLLECT_SECONDS = 3600.0  # from one tidying to the next


def main() -> None:
    """Run until SIGTERM; a running job is then handed back after a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m worker")
    parser.add_argument("--queue", type=Queue, choices=list(Queue), required=True)
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    os.umask(PRIVATE)
    settings.layout.make_private()
    logs.configure(settings.log_format)
    if settings.log_format == "json":
        sys.__stdout__ = open(os.devnull, "w")  # type: ignore[misc]  # noqa: SIM115 -- where Celery says, and does not log, that it shuts down
    flag = settings.layout.drain(os.getpid())
    flag.unlink(missing_ok=True)

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: object) -> None:
        flag.touch()

    name, quiet = f"{arguments.queue}-{os.getpid()}@%h", ("--without-gossip", "--without-mingle", "--without-heartbeat")
    alive = settings.layout.alive(arguments.queue)
    threading.Thread(target=_sweep, args=(arguments.queue, alive), name="sweep", daemon=True).start()
    try:
        # The level is that of Celery's pool alone, which writes in a format of its own; core.ground.logs sets all others.
        app.worker_main(["--quiet", "worker", "--loglevel", "WARNING", "--queues", arguments.queue, "--hostname", name, *quiet])
    finally:
        flag.unlink(missing_ok=True)
        alive.unlink(missing_ok=True)


def _sweep(queue: Queue, alive: Path) -> None:
    """Requeue jobs of silent workers, delete files that crashes left, queue missing embeddings, and send a message while a job
    waits for which there is none. Touches ``alive`` after each turn, for health checks."""
    db = Database(settings.database, pools.WORKER)
    sweep, bell = Sweep(db, settings.lost_after_seconds), Bell(app)
    pause, collected = threading.Event(), -_COLLECT_SECONDS
    while True:
        try:
            for job_id in sweep.run(queue):
                log.warning("%s was taken from a worker that fell silent", job_id)
            if queue is Queue.TASKS and time.monotonic() - collected > _COLLECT_SECONDS:
                collected = time.monotonic()
                for path in delete_orphans(db, settings):
                    log.warning("%s belonged to nothing and was deleted", path)
                if old := delete_old_audit(db, settings.audit_days):
                    log.info("%d lines of the audit trail were older than %d days and are deleted", old, settings.audit_days)
                for job_id in embedding.request_missing(db, settings):
                    log.warning("%s was queued, as an earlier job like it ended without success", job_id)
            if has_claimable_job(db, queue):
                bell.ring_if_silent(queue)
            alive.touch()
        except Exception:  # a database that is away comes back; the sweep must outlive it
            log.exception("the sweep will try again")
        pause.wait(settings.heartbeat_seconds)


if __name__ == "__main__":
    main()
