"""The ``ingest`` job."""

from core import intake
from core.db import Database
from core.jobs import Claim
from core.models import Queue
from core.queue import Bell
from core.settings import Settings
from worker.pulse import Pulse


def ingest(db: Database, settings: Settings, owner: Claim, pulse: Pulse) -> None:
    """Validate an upload, then wake the training queue: a job may have waited for the dataset."""
    from worker.tasks import app

    intake.ingest(db, settings, owner, pulse.should_stop)
    Bell(app).ring(Queue.TRAINING)
