"""Whether the service lives, and whether it can serve."""

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from service.context import Ctx
from service.errors import problem
from service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/healthz")
def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health)
def ready(context: Ctx) -> Response | Health:
    """The database answers; 503 with what is missing where it does not."""
    try:
        with context.db.read() as session:
            session.execute(text("SELECT 1 FROM datasets LIMIT 1"))
    except SQLAlchemyError as error:
        return problem(503, "not_ready", f"the database does not answer: {type(error).__name__}")
    return Health(status="ok")
