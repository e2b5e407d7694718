"""``python -m service.api``: the API, in one process or in several that share the port."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from core.errors import BadSettings
from core.ground import logs, traces
from core.ground.processes import PRIVATE, die_with_parent
from core.settings import Settings
from core.store import pools
from core.store.db import Database
from service import metrics
from service.app import create_app
from service.middleware.protocol import Protocol
from service.supervised import Supervised

log = logging.getLogger(__name__)
DRAIN_SECONDS = 20  # that requests have to end in on SIGTERM
_BACKLOG = 2048
_SWITCH_SECONDS = 0.001  # after which a thread that computes lets the event loop go on; a fifth of Python's own


class _Server(uvicorn.Server):
    """Tells open event streams to end, for uvicorn waits for them on shutdown."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.context.stopping.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service.api")
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--metrics", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    sys.setswitchinterval(_SWITCH_SECONDS)
    os.umask(PRIVATE)
    settings = Settings.load()
    settings.layout.make_private()
    logs.configure(settings.log_format)
    if arguments.metrics:
        metrics.share(arguments.metrics, arguments.number)
    if arguments.fd is None:
        _warn_of_shortage(settings)
    if arguments.fd is None and settings.api_processes > 1:
        _several(settings)
        return
    traces.configure("anchorhood-api")
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        proxy_headers=False,  # which would believe this machine; see middleware/proxies.py
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        log_config=None,
    )
    # As a socket, not as uvicorn's ``fd``, which is taken for a Unix socket: each answer then waits 40 ms for its second part
    # (Nagle's algorithm, which is not switched off there, and delayed acknowledgements).
    _Server(config).run(None if arguments.fd is None else [socket.socket(fileno=arguments.fd)])


def _warn_of_shortage(settings: Settings) -> None:
    try:
        with Database(settings.database, connections=1) as db:
            if shortage := pools.shortage(db, settings.api_processes):
                log.warning("%s", shortage)
    except SQLAlchemyError as error:  # it may come later
        log.warning("the database does not answer yet: %s", type(error).__name__)


def _several(settings: Settings) -> None:
    """Processes that accept from one socket; one that ends is started again."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _listening(settings) as listener, metrics.folder_to_share() as figures:
        command = [sys.executable, "-m", "service.api", "--fd", str(listener.fileno()), "--metrics", str(figures)]
        children = [
            Supervised(f"api {number}", [*command, "--number", str(number)], None, (listener.fileno(),))
            for number in range(settings.api_processes)
        ]
        for child in children:
            child.start()
        log.info("%d processes on http://%s:%d", len(children), settings.host, settings.port)
        while not stop.wait(0.5):
            for child in children:
                child.look()
        for child in children:
            child.terminate()
        for child in children:
            child.wait(DRAIN_SECONDS + 5)


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise BadSettings(f"ANCHORHOOD_PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    listener.listen(_BACKLOG)
    return listener


if __name__ == "__main__":
    main()
