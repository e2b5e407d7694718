"""Which process dies next."""

import logging
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from core.jobs.protocol import FRUITLESS_LIMIT
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobStatus
from core.store.tables import Job
from tests.live import Running
from tests.servers import Service

log = logging.getLogger("chaos")
_KINDS = {  # the first whose words are all in a process's command line
    "serve": ("-m anchorhood", "serve"),
    "valkey-server": ("valkey-server",),
    "valkey guard": ("service.operations.valkey",),
    "training process": ("-m trainer",),
    "training worker": ("-m worker", "--queue training"),
    "tasks worker": ("-m worker", "--queue tasks"),
    "pool process": ("billiard.spawn",),
    "API process": ("service.api", "--fd"),
    "API parent": ("service.api",),
}
_HARMLESS_TO_JOBS = ("API process", "API parent", "redis", "valkey-server", "valkey guard")


class Harm:
    """SIGKILLs one process after another, chosen at random with a fixed seed among the kinds that are running."""

    def __init__(self, system: Running, servers: dict[str, Service], seed: int) -> None:
        self._system, self._servers, self._random = system, servers, random.Random(seed)
        self._db = Database(Settings.model_validate(system.settings).database)
        self.kills: list[str] = []

    def gap(self, least: float, most: float) -> float:
        return self._random.uniform(least, most)

    def counts(self) -> dict[str, int]:
        """How often each kind was killed."""
        return dict(sorted(Counter(self.kills).items()))

    def kill(self) -> None:
        victims = self._victims()
        if self._about_to_be_given_up():
            victims = {kind: pids for kind, pids in victims.items() if kind in _HARMLESS_TO_JOBS}
        if not victims:
            return
        kind = self._random.choice(sorted(victims))
        pid = self._random.choice(sorted(victims[kind]))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills.append(kind)
            log.info("killed %s (%d)", kind, pid)

    def _about_to_be_given_up(self) -> bool:
        """A job that is lost three times in a row without a new checkpoint fails, as documented: it might be its own fault.
        So that chance does not do that here, only what costs no job a try is killed then."""
        wanted = select(func.max(Job.fruitless)).where(Job.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
        try:
            with self._db.read() as session:
                return (session.scalar(wanted) or 0) >= FRUITLESS_LIMIT - 1
        except SQLAlchemyError:  # PostgreSQL is not back yet
            return True

    def _victims(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for pid, command in self._system.processes().items():
            kind = next((kind for kind, words in _KINDS.items() if all(word in command for word in words)), None)
            if kind is not None:
                found.setdefault(kind, []).append(pid)
        for name, service in self._servers.items():
            if service.process is not None and service.process.poll() is None:
                found[name] = [service.process.pid]
                if name == "postgres":
                    found["postgres backend"] = _backends(service.process.pid)
        return {kind: pids for kind, pids in found.items() if pids}


def _backends(postmaster: int) -> list[int]:
    """Processes that serve a connection; when one is killed, PostgreSQL ends all others and recovers from its log."""
    with suppress(OSError):
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [int(child) for child in children if b"127.0.0.1(" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return []
