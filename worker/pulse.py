"""The heartbeats of a running job, and the checks whether it is to stop."""

import logging
import threading
from contextvars import copy_context
from types import TracebackType
from typing import Self

from core.errors import StaleAttempt
from core.jobs import protocol
from core.jobs.context import JobContext
from worker import lifeline

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.5


class Pulse:
    """Beats in a thread, and sets the context's signals."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._over = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._beat,), name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        waited, signals, settings = 0.0, self._context.signals, self._context.settings
        while not self._over.wait(LOOK_SECONDS):
            signals.draining = signals.draining or lifeline.draining(settings)
            waited += LOOK_SECONDS
            if waited < settings.heartbeat_seconds:
                continue
            waited = 0.0
            try:
                to_cancel = protocol.send_heartbeat(self._context.db, self._context.claim, signals.newest_checkpoint())
                signals.cancelled = to_cancel or signals.cancelled
            except StaleAttempt:
                signals.lost = True
                return
            except Exception:  # a database that is away: the next beat tries again, the sweep judges
                log.exception("no heartbeat for %s", self._context.job_id)
