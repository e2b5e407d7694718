"""Child processes that end with their parent, however it ends."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

PRIVATE = 0o077  # a umask: what is made is its owner's alone, files 0600 and folders 0700


def die_with_parent(descriptor: int) -> None:
    """End this process group when the other end of a pipe closes, which happens however the parent ends."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="parent", daemon=True).start()


class Child:
    """A process in a session of its own that dies with this one: it holds the read end of a pipe from here."""

    def __init__(
        self,
        command: Sequence[str],
        log: IO[bytes] | int | None = None,
        env: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        reader, self._writer = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*command, "--parent-pipe", str(reader)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                pass_fds=(reader, *descriptors),
                start_new_session=True,
            )
        finally:
            os.close(reader)

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait_or_kill(self, patience: float) -> int:
        """Wait up to ``patience`` seconds, then kill the whole group; returns the exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def close(self) -> None:
        """Close the pipe, after the process has ended."""
        os.close(self._writer)
