"""Domain errors as RFC 9457 problem documents."""

import errno
import logging
import sqlite3
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from core import errors
from core.files.manifest import DamagedModel
from core.ground import finite, logs
from service.schemas.common import Problem

log = logging.getLogger(__name__)
_TOLD = 20  # errors of one request that are named
_PLACE, _MESSAGE, _DETAIL = 200, 500, 4000  # characters of what an answer may echo
MEDIA_TYPE = "application/problem+json"
_BUSY_SECONDS = 2  # after which another try is likely to be answered

# The first class that an error is an instance of decides.
STATUS: tuple[tuple[type[errors.DomainError], int], ...] = (
    (errors.NotFound, 404),
    (errors.NotAllowed, 403),
    (errors.TooLarge, 413),
    (errors.BadRequest, 422),
    (errors.Conflict, 409),
    (errors.Busy, 503),
)
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "Conflict",
    411: "Length required",
    413: "Too large",
    414: "Address too long",
    415: "Unsupported media type",
    422: "Unprocessable",
    429: "Too many requests",
    431: "Headers too long",
    500: "Internal error",
    503: "Not ready",
    507: "Insufficient storage",
}


class _Problem(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return finite.dumps(content).encode()  # ASCII: half characters that a client sent can be named, too


def problem(status: int, code: str, detail: str, **extra: Any) -> JSONResponse:
    """A problem document; ``code`` is ours and stable."""
    body = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": _shortened(detail, _DETAIL),
        "code": code,
        **extra,
    }
    return _Problem(body, status)


def _shortened(text: str, most: int) -> str:
    """A text that may hold what a client sent, however long that was."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` for problem documents of these statuses."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def database_away(error: Exception) -> JSONResponse | None:
    """The answer where the database does not, or has no tables yet, or no room; ``None`` for another error."""
    cause = getattr(error, "orig", None) or error
    away = isinstance(error, OperationalError | PoolTimeout) or isinstance(
        cause, psycopg.OperationalError | sqlite3.OperationalError
    )
    if isinstance(cause, psycopg.errors.DiskFull) or "disk is full" in str(cause):
        log.error("the database's disk is full: %s", cause)
        return problem(507, "disk_full", "the disk of the database is full")
    if not away and not isinstance(cause, psycopg.errors.UndefinedTable):
        return None
    log.error("the database does not answer: %s", cause)
    return problem(503, "database_unavailable", "the database does not answer at the moment; try again later")


def _without_slash(request: Request) -> str:
    """The same address without its last slash, relative to itself: it holds whatever a proxy calls the folders before."""
    last = request.scope["raw_path"].decode("latin-1").rstrip("/").rpartition("/")[2]
    return f"../{last}" + (f"?{request.url.query}" if request.url.query else "")


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""

    @app.exception_handler(errors.DomainError)
    def domain(_: Request, error: errors.DomainError) -> JSONResponse:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        answer = problem(status, error.code, str(error))
        if isinstance(error, errors.Busy):
            answer.headers["Retry-After"] = str(_BUSY_SECONDS)
        return answer

    @app.exception_handler(DamagedModel)
    def damaged(_: Request, error: DamagedModel) -> JSONResponse:
        log.error("%s", error)
        return problem(500, "model_damaged", "the model's files are damaged or missing; the server's log says which")

    @app.exception_handler(RequestValidationError)
    def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        items = [
            {
                "where": _shortened(".".join(_shortened(str(name), _PLACE) for name in item["loc"]), _PLACE),
                "message": _shortened(item["msg"], _MESSAGE),
            }
            for item in found[:_TOLD]
        ]
        detail = "; ".join(f"{item['where']}: {item['message']}" for item in items)
        if len(found) > _TOLD:
            detail = f"{_shortened(detail, _DETAIL - 30)}; and {len(found) - _TOLD:,} more"
        return problem(422, "bad_request", detail, errors=items)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        path, methods = request.scope["path"], app.state.methods
        if error.status_code == 405:
            allowed = ", ".join(methods.of(path))
            answer = problem(405, "http_405", f"Method Not Allowed: {request.method}; this path has {allowed}")
            answer.headers["Allow"] = allowed
            return answer
        if error.status_code == 404 and path.endswith("/") and methods.of(path[:-1]):
            return RedirectResponse(_without_slash(request), 307)
        return problem(error.status_code, f"http_{error.status_code}", str(error.detail))

    def database(_: Request, error: Exception) -> JSONResponse:
        answer = database_away(error)
        if answer is None:
            raise error
        return answer

    for kind in (OperationalError, ProgrammingError, PoolTimeout, psycopg.Error, sqlite3.OperationalError):
        app.add_exception_handler(kind, database)

    @app.exception_handler(OSError)
    def disk(_: Request, error: OSError) -> JSONResponse:
        if error.errno != errno.ENOSPC:
            raise error
        log.error("the disk is full: %s", error)
        return problem(507, "disk_full", "the disk of the data folder is full; nothing of this request was kept")

    @app.exception_handler(Exception)
    def unexpected(_: Request, error: Exception) -> JSONResponse:
        answer = problem(500, "internal_error", "something went wrong here; the server's log says what")
        # This runs outside the middleware that adds the header to other answers.
        answer.headers["X-Request-ID"] = str(logs.context_fields().get("request_id", ""))
        return answer
