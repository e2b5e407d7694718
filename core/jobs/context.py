"""The one object that every function of a job takes; it writes to the database as the job's owner."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from core.errors import Stopped
from core.files.layout import DataFolder
from core.jobs import protocol
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobStatus


class Signals:
    """Signals to a running job. The thread that sends its heartbeats sets them.

    Attributes:
        cancelled: a client asked for its end.
        lost: it has another owner by now, or is over.
        draining: its worker is shutting down, and hands it back.
        newest_checkpoint: returns the name of the newest checkpoint, if there is one; sent with each heartbeat.
    """

    def __init__(self) -> None:
        self.cancelled = self.lost = self.draining = False
        self.newest_checkpoint: Callable[[], str | None] = lambda: None

    def should_stop(self) -> bool:
        return self.cancelled or self.lost or self.draining


@dataclass(frozen=True)
class JobContext:
    """Everything that one attempt at a job needs while it runs."""

    db: Database
    settings: Settings
    claim: Claim
    signals: Signals = field(default_factory=Signals)

    @property
    def job_id(self) -> str:
        return self.claim.job_id

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @property
    def layout(self) -> DataFolder:
        return self.settings.layout

    def go_on(self) -> None:
        """Check that the job may continue; called between two steps of work.

        Raises:
            Stopped: the job was cancelled or lost, or its worker is shutting down.
        """
        if self.signals.should_stop():
            raise Stopped(f"{self.job_id} is to stop")

    @contextmanager
    def write(self, **values: object) -> Iterator[Session]:
        """A write transaction in which the job has no other owner.

        Args:
            values: written to the job's own row.

        Raises:
            StaleAttempt: the attempt is over.
        """
        with self.db.write() as session:
            protocol.update_owned(session, self.claim, **values)
            yield session

    @contextmanager
    def publish(self, model_id: str) -> Iterator[Session]:
        """A write transaction in which the model of a training that goes on appears.

        Raises:
            StaleAttempt: the attempt is over, or the job is to be cancelled.
        """
        with self.db.write() as session:
            protocol.publish(session, self.claim, model_id)
            yield session

    @contextmanager
    def succeed(self, **values: object) -> Iterator[Session]:
        """A write transaction that ends the job with success.

        Args:
            values: written to the job's own row.

        Raises:
            StaleAttempt: the attempt is over, or the job is to be cancelled.
        """
        with self.db.write() as session:
            protocol.finish(session, self.claim, JobStatus.SUCCEEDED, error=None, **values)
            yield session
