"""A process that is kept running, by ``anchorhood serve`` and by the parent of several API processes."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from core.ground.processes import Child

log = logging.getLogger(__name__)
_LONGEST_BACKOFF = 30.0  # seconds


class Supervised:
    """A child that is started again when it ends unasked, at growing intervals."""

    def __init__(self, name: str, command: list[str], log_path: Path | None, descriptors: Sequence[int] = ()) -> None:
        self.name, self._command, self._log_path, self._descriptors = name, command, log_path, descriptors
        self._backoff, self._due = 1.0, 0.0
        self._child: Child | None = None

    def start(self) -> None:
        if self._log_path is None:
            self._child = Child(self._command, descriptors=self._descriptors)
        else:
            with open(self._log_path, "ab") as file:
                self._child = Child(self._command, log=file, descriptors=self._descriptors)
        self._started = time.monotonic()

    def look(self) -> None:
        """Notice an end, and start again when it is time."""
        if self._child and self._child.process.poll() is not None:
            if time.monotonic() - self._started > _LONGEST_BACKOFF:
                self._backoff = 1.0
            log.warning(
                "%s ended with code %s; starting it again in %.0f s", self.name, self._child.process.poll(), self._backoff
            )
            self._child.kill()  # what is left of its group
            self._child.close()
            self._child, self._due = None, time.monotonic() + self._backoff
            self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF)
        elif self._child is None and time.monotonic() >= self._due:
            self.start()

    def terminate(self) -> None:
        if self._child:
            self._child.terminate()

    def wait(self, patience: float) -> None:
        if self._child:
            self._child.wait_or_kill(patience)
            self._child.kill()
            self._child.close()
            self._child = None
