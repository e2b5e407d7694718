"""``python -m service.api``: the API, in one process or in several that share the port."""

import argparse
import logging
import signal
import socket
import sys
import threading
from asyncio import Transport
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.errors import BadSettings
from core.ground import logs
from core.ground.processes import die_with_parent
from core.settings import Settings
from service import metrics
from service.app import create_app
from service.supervised import Supervised

log = logging.getLogger(__name__)
DRAIN_SECONDS = 20  # that requests have to end in on SIGTERM
_HEADER_SECONDS = 30.0  # that a new connection has for its first request's headers
_HEADER_BYTES = 64 << 10
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Tells open event streams to end, for uvicorn waits for them on shutdown."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.context.stopping.set()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


class _Protocol(HttpToolsProtocol):
    """Lets go of connections that never ask for anything, or whose headers never end; uvicorn has no limit for either."""

    _head = 0  # bytes of a request whose headers are not complete
    _in_head = True

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_HEADER_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        if self._head > _HEADER_BYTES:
            self.transport.close()
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


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
    settings = Settings.load()
    logs.configure(settings.log_format)
    if arguments.metrics:
        metrics.share(arguments.metrics, arguments.number)
    if arguments.fd is None and settings.api_processes > 1:
        _several(settings)
        return
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        fd=arguments.fd,
        http=_Protocol,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
        log_config=None,
    )
    _Server(config).run()


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
