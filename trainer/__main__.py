"""``python -m trainer run|evaluate|export|attention|fetch``: training and evaluation without the service."""

import ctypes
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import torch

from core.ground import logs, traces
from core.ground.processes import die_with_parent
from trainer.commands.parser import parser
from trainer.config import InputError
from trainer.train import Stopped

log = logging.getLogger("trainer")

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped by SIGTERM after a checkpoint; run again to go on
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # of malloc.h


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run it. Exit codes: 0 done, 1 failed, 2 bad input, 75 stopped with a checkpoint."""
    for stream in (sys.stdout, sys.stderr):  # what a console cannot show is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(argv)
    if arguments.parent_pipe is not None:
        die_with_parent(arguments.parent_pipe)
    if arguments.log_context is None:
        logs.configure_plain("trainer")
    else:
        logs.configure("json", "trainer", arguments.log_context, logging.WARNING)
        log.setLevel(logging.INFO)
    if arguments.parent_pipe is not None:
        traces.configure("anchorhood-trainer")
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        words = {"command": arguments.command.__name__}
        with traces.span("trainer", os.environ.get(traces.TRACEPARENT), **words):
            return int(arguments.command(arguments))
    except InputError as error:
        log.error("%s", error)
        return EXIT_BAD_INPUT
    except OSError as error:
        # A worker keeps the traceback in its log; for a person the file and the reason are enough.
        if arguments.log_context is not None or error.filename is None:
            raise
        log.error("%s: %s", error.filename, error.strerror)
        return EXIT_FAILED
    except Stopped:
        log.info("stopped; the same command goes on from here")
        return EXIT_STOPPED


def keep_freed_memory() -> None:
    """Keep what a step frees for the next one: glibc gives large blocks back to the system at once, and the page faults of
    getting them anew cost a step on photographs a third of its time. Elsewhere nothing is changed."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 << 20), (_M_ARENA_MAX, 1)):
            mallopt(option, value)


if __name__ == "__main__":
    sys.exit(main())
