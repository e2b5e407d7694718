"""A Celery pool process does not outlive its worker, and hands its job back when the worker is asked to stop."""

import os
import signal
import threading
import time

from core.settings import Settings


def die_when_orphaned() -> None:
    """For a Celery pool process, which Celery starts without a pipe: end when the worker above it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="orphan", daemon=True).start()


def draining(settings: Settings) -> bool:
    """Whether the worker above this pool process is shutting down."""
    return settings.layout.drain(os.getppid()).exists()
