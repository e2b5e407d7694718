"""The embedded system: one process that starts everything, keeps it running and leaves nothing behind."""

import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from core.errors import BadSettings, DataDirInUse
from core.ground import logs
from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.kinds import Queue
from service.middleware.local import is_loopback
from service.supervised import Supervised

log = logging.getLogger(__name__)
_START_PATIENCE = 60.0  # seconds until the broker and the API must answer
_STOP_PATIENCE = 45.0  # seconds a worker has to write a checkpoint and hand its job back


def serve(settings: Settings) -> None:
    """Run the embedded system until SIGINT or SIGTERM.

    Raises:
        BadSettings: an address that others could reach, a port that is taken, a database that cannot be used.
        DataDirInUse: another ``serve`` runs on this data folder.
    """
    logs.configure(settings.log_format)
    with only_one(settings):
        _require_free_port(settings)
        migrate.upgrade(settings.database)
        require_keys(settings)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        log = settings.layout.log
        python = [sys.executable, "-m"]
        broker = Supervised("valkey", [*python, "service.operations.valkey"], log("valkey")) if not settings.broker_url else None
        workers = [
            Supervised(f"worker {queue}", [*python, "worker", "--queue", queue], log(f"worker-{queue}")) for queue in Queue
        ]
        api = Supervised("api", [*python, "service.api"], log("api"))
        children = [*([broker] if broker else []), *workers, api]
        try:
            if broker:
                broker.start()
                _wait(lambda: _answers(settings), "the broker", log("valkey"), stop, [broker])
            for child in (*workers, api):
                child.start()
            _wait(lambda: _listens(settings), "the API", log("api"), stop, children)
            if not stop.is_set():
                print(f"Anchorhood is ready: http://{settings.host}:{settings.port}", flush=True)
                print(f"Data: {settings.root}   Logs: {settings.layout.logs}   Stop: Ctrl-C", flush=True)
            while not stop.wait(0.5):
                for child in children:
                    child.look()
        finally:
            print("stopping: running jobs write a checkpoint and go back to the queue", flush=True)
            for child in (api, *workers):
                child.terminate()
            for child in (api, *workers):
                child.wait(_STOP_PATIENCE)
            if broker:
                broker.terminate()
                broker.wait(_STOP_PATIENCE)


def require_keys(settings: Settings) -> None:
    """Refuse an address that others can reach while no key exists, since then nobody could get in.

    Raises:
        BadSettings: so it is.
    """
    if is_loopback(settings.host):
        return
    with Database(settings.database) as db:
        if keys.required(db):
            return
    raise BadSettings(
        f"ANCHORHOOD_HOST: {settings.host} can be reached by others, and there are no API keys; make one "
        "(anchorhood keys create NAME --scope admin) or use 127.0.0.1"
    )


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Raises ``DataDirInUse`` where ``serve`` runs on the data folder; until the block ends none can start."""
    try:
        path = settings.layout.lock
        file = open(path, "a+")  # noqa: SIM115 -- closed by the block below
    except OSError as error:
        raise BadSettings(f"ANCHORHOOD_DATA_DIR: {error.filename}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirInUse(f"{settings.root} is in use by another 'anchorhood serve'") from error
        for flag in settings.layout.drains():
            flag.unlink(missing_ok=True)
        (path.parent / "pid").write_text(str(os.getpid()))
        yield


def _require_free_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise BadSettings(f"ANCHORHOOD_PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error


def _answers(settings: Settings) -> bool:
    with suppress(redis.RedisError, OSError), redis.Redis(unix_socket_path=str(settings.socket), socket_timeout=2) as client:
        return bool(client.ping())
    return False


def _listens(settings: Settings) -> bool:
    with suppress(OSError), socket.create_connection((settings.host, settings.port), timeout=2):
        return True
    return False


def _wait(
    condition: Callable[[], bool], what: str, log_path: Path, stop: threading.Event, children: Sequence[Supervised]
) -> None:
    deadline = time.monotonic() + _START_PATIENCE
    while not condition() and not stop.wait(0.1):
        for child in children:
            child.look()
        if time.monotonic() > deadline:
            raise BadSettings(f"{what} did not answer within {_START_PATIENCE:.0f} s; {log_path} says why")
