"""Whether the service lives, and whether it can serve."""

import logging

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError

from core.store import readiness
from service.access import open_to_all
from service.context import Ctx
from service.errors import problem
from service.schemas.common import Health

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


@router.get("/healthz")
@open_to_all
def check_health() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health)
@open_to_all
def check_readiness(context: Ctx) -> Response | Health:
    """Whether requests can be served: 503 where the database does not answer. Without a broker they can, but jobs wait for a
    worker's next sweep: then the status is ``degraded``; ``missing`` names what does not answer."""
    try:
        readiness.require_tables(context.db)
    except SQLAlchemyError as error:
        log.warning("not ready: %s", error)
        return problem(503, "not_ready", "the database does not answer, or has no tables yet", missing=["database"])
    if context.bell.answers():
        return Health(status="ok")
    return Health(status="degraded", missing=["broker"])
