"""The ``ingest`` job."""

from core import intake
from core.db import Database
from core.jobs import Claim
from core.settings import Settings
from worker.pulse import Pulse


def ingest(db: Database, settings: Settings, owner: Claim, pulse: Pulse) -> None:
    """Validate an upload: see ``core.intake``."""
    intake.ingest(db, settings, owner, pulse.should_stop)
