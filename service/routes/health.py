"""Whether the service lives, and whether it can serve. Both answer at once, whatever else happens here."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError

from core.jobs.bell import Bell
from core.settings import Settings
from core.store import readiness
from core.store.db import Database
from service.access import answered_at_once
from service.errors import problem
from service.schemas.common import Health

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])
_PATIENCE = 0.05  # seconds that an answer waits for a look; after that it tells of the one before
HANGS = 2.0  # seconds after which what has not answered counts as missing
Part = Literal["database", "broker"]


class Readiness:
    """Looks at the database and the broker, in a thread and over a connection to each that nothing else uses."""

    def __init__(self, settings: Settings, bell: Bell) -> None:
        self._db, self._bell = Database(settings.database, connections=1), bell
        self._thread = ThreadPoolExecutor(1, "readiness")
        self._look: asyncio.Future[list[Part]] | None = None
        self._began, self._asked = 0.0, "database"
        self._missing: list[Part] = ["database"]  # by the last look that has ended

    async def missing(self, patience: float = _PATIENCE) -> list[Part]:
        """What does not answer. The first time, as the server starts, one waits for it."""
        loop = asyncio.get_running_loop()
        if self._look is None:
            self._began = loop.time()
            self._look = loop.run_in_executor(self._thread, self._look_now)
        look = self._look
        await asyncio.wait({look}, timeout=patience)
        if look.done():
            self._look, self._missing = None, look.result()
        elif loop.time() - self._began > HANGS:
            return ["database"] if self._asked == "database" else ["broker"]
        return self._missing

    def _look_now(self) -> list[Part]:
        self._asked = "database"
        try:
            readiness.require_tables(self._db)
        except SQLAlchemyError as error:
            log.warning("not ready: %s", error)
            return ["database"]
        self._asked = "broker"
        return [] if self._bell.answers() else ["broker"]

    def close(self) -> None:
        """Close the connections, unless a look still hangs in them."""
        self._thread.shutdown(wait=False)
        if self._look is None:
            self._db.dispose()


@router.get("/healthz")
@answered_at_once
async def check_health() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health)
@answered_at_once
async def check_readiness(request: Request) -> Response | Health:
    """Whether requests can be served: 503 where the database does not answer. Without a broker they can, but jobs wait for a
    worker's next sweep: then the status is ``degraded``; ``missing`` names what does not answer."""
    found: Readiness = request.app.state.readiness
    missing = await found.missing()
    if "database" in missing:
        return problem(503, "not_ready", "the database does not answer, or has no tables yet", missing=missing)
    return Health(status="degraded" if missing else "ok", missing=list(missing))
