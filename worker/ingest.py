"""The ``ingest`` job."""

from core.collections import intake
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import Database
from worker.pulse import Pulse


def ingest(db: Database, settings: Settings, owner: Claim, pulse: Pulse) -> None:
    """Validate an upload: see ``core.collections.intake``."""
    intake.ingest(db, settings, owner, pulse.should_stop)
