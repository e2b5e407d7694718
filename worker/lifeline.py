"""A Celery pool process does not outlive its worker, and hands its job back when the worker is asked to stop."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

from core.settings import Settings
from core.store.kinds import Queue


def die_when_orphaned() -> None:
    """For a Celery pool process, which Celery starts without a pipe: end when the worker above it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="orphan", daemon=True).start()


def drain_file(settings: Settings, worker_pid: int) -> Path:
    """The file whose existence tells the pool process of a worker to hand its job back."""
    return settings.folder("run") / f"drain-{socket.gethostname()}-{worker_pid}"


def alive_file(settings: Settings, queue: Queue) -> Path:
    """The file that a worker whose database answers touches every few seconds."""
    return settings.folder("run") / f"alive-{queue}-{socket.gethostname()}"


def draining(settings: Settings) -> bool:
    """Whether the worker above this pool process is shutting down."""
    return drain_file(settings, os.getppid()).exists()
