"""``python -m trainer`` as a child process: started, watched and ended."""

import json
import os
import sys
import time
from collections.abc import Sequence

from core.errors import BadParameters, Stopped
from core.ground import logs, traces
from core.ground.folders import RunFolder
from core.ground.processes import Child
from core.jobs import protocol
from core.jobs.context import JobContext
from worker.training.output import Output
from worker.training.relay import Relay

_LOOK_SECONDS = 0.5
_PATIENCE = 30.0  # seconds from SIGTERM to SIGKILL: enough to write a checkpoint
_EXIT_BAD_INPUT, _EXIT_STOPPED = 2, 75  # trainer/__main__.py


class TrainerError(RuntimeError):
    """The training process ended with an error of its own."""


def supervise(
    context: JobContext,
    run: RunFolder,
    command: Sequence[str],
    relay: Relay | None = None,
) -> None:
    """Run ``python -m trainer`` to its end.

    Raises:
        BadParameters, TrainerError, Stopped: as ``run_training``.
    """
    signals = context.signals
    threads = ["--threads", str(context.settings.threads)] if context.settings.threads else []
    in_json = context.settings.log_format == "json"
    about = ["--log-context", json.dumps(logs.context_fields(), allow_nan=False)]  # whatever the worker's are: each names its job
    with Output(run.log, shown=in_json) as output:
        child = Child([sys.executable, "-m", "trainer", *command, *threads, *about], log=output.file, env=_environment())
        try:
            while child.process.poll() is None and not signals.should_stop():
                if relay:
                    relay.try_forward()
                output.show()
                time.sleep(_LOOK_SECONDS)
            if signals.draining and not signals.cancelled:
                child.terminate()
            elif signals.should_stop():
                child.kill()
            code = child.wait_or_kill(_PATIENCE)
        finally:
            child.kill()
            child.close()
    context.go_on()
    if relay:
        relay.forward()
    if code in (_EXIT_STOPPED,) or code < 0:
        protocol.abandon(context.db, context.claim, f"its training process was ended from outside (exit code {code})")
        signals.lost = True
        raise Stopped(f"{context.job_id} is somebody else's by now")
    if code:
        message = output.last_words()
        raise BadParameters(message.removeprefix("error: ")) if code == _EXIT_BAD_INPUT else TrainerError(message)


def _environment() -> dict[str, str] | None:
    """That of a training process: this one's, and what it is a part of where that is traced."""
    trace = traces.current()
    return {**os.environ, traces.TRACEPARENT: trace} if trace else None
