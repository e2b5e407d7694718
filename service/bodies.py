"""Bodies that are read whole: JSON whose texts every database can hold, as models."""

import re
from collections.abc import AsyncIterator
from difflib import get_close_matches
from typing import Any, BinaryIO, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from core.errors import BadRequest, TooLarge

FIELD_BYTES = 64 << 10  # of a small JSON body, and of all fields of a form but its file
FIELDS = 20  # of a form, and as many headers, each of 4 KiB, as python-multipart lets each have
SMALL_BYTES = 256 << 10  # of a body with many ids, or with metadata
TABLE_BYTES = 64 << 20  # of a table of labels, which is read from the disk
QUERY_BYTES = 12 << 20  # of 256 vectors of 2,048 numbers
# What a body beyond SMALL_BYTES may hold: each value takes tens of bytes of memory, each object hundreds, and each character
# four where one is beyond the Basic Multilingual Plane.
_MANY_VALUES, _MANY_OBJECTS, _WIDE_BYTES = 600_000, 100_000, 4 << 20
_MANY_ERRORS = 1000  # each takes a thousand bytes as Python sees it, and pydantic gives all or none
_LOOKED_AT = 100  # characters of a name for which the nearest known one is sought
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
Model = TypeVar("Model", bound=BaseModel)


def media_type(request: Request) -> str:
    """The body's type as the client names it, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A whole body that has to fit in memory.

    Raises:
        TooLarge: it is longer than ``max_bytes``.
    """
    data = bytearray()
    async for part in _parts(request, max_bytes):
        data += part
    return bytes(data)


async def write_body(request: Request, file: BinaryIO, max_bytes: int) -> None:
    """Write a body to a file and go back to its start.

    Raises:
        TooLarge: it is longer than ``max_bytes``.
    """
    async for part in _parts(request, max_bytes):
        file.write(part)
    file.seek(0)


async def _parts(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise TooLarge(f"more than {max_bytes:,} bytes, which is the most allowed")
        yield part


def parse_json(data: bytes | str) -> object:
    """JSON whose texts every database can hold.

    Raises:
        BadRequest: it is not JSON, is nested too deeply, holds NUL or half of a character (a lone surrogate), or more than any
            query needs.
    """
    if len(data) > SMALL_BYTES:
        _require_bounded(data.encode() if isinstance(data, str) else data)
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from error
    raw = data if isinstance(data, bytes) else data.encode()
    if b"\\u0000" in raw and _NUL.search(raw):
        raise BadRequest("not allowed in JSON: NUL")
    return value


def _require_bounded(data: bytes) -> None:
    """Refuse a long body that would take far more memory than its bytes once it is parsed."""
    if data.count(b",") > _MANY_VALUES or data.count(b":") + data.count(b"[") + data.count(b"{") > _MANY_OBJECTS:
        raise BadRequest(f"more than {_MANY_VALUES:,} values or {_MANY_OBJECTS:,} names, lists and objects")
    if len(data) > _WIDE_BYTES and not (data.isascii() and b"\\u" not in data):
        raise BadRequest(f"more than {_WIDE_BYTES:,} bytes that are not all ASCII; send fewer queries at once")


async def json_value(request: Request, max_bytes: int) -> object:
    """A JSON body.

    Raises:
        BadRequest: it is refused by ``parse_json``.
        TooLarge: it is longer than ``max_bytes``.
    """
    data = await read_body(request, max_bytes)
    return parse_json(data) if len(data) <= FIELD_BYTES else await run_in_threadpool(parse_json, data)


def validated(kind: type[Model], body: object, where: str | None = "body") -> Model:
    """A request's body as a model. Errors are reported as FastAPI does; an unknown name gets the nearest known one suggested."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        place = [where] if where else []
        if error.error_count() > _MANY_ERRORS:
            many = f"{error.error_count():,} errors, which are too many to name"
            raise RequestValidationError([{"type": "value_error", "loc": place, "msg": many}]) from None
        problems: list[Any] = []
        for item in error.errors(include_url=False):
            if item["type"] == "extra_forbidden":
                message = _unknown(kind, item["loc"])
            elif item["type"] == "literal_error" and (near := _near(item)):
                message = f"{item['msg']}; did you mean {near}?"
            elif item["type"] == "value_error":  # in our own words, without pydantic's before them
                message = str(item["ctx"]["error"])
            else:
                message = item["msg"]
            problems.append({**item, "loc": (*place, *item["loc"]), "msg": message})
        raise RequestValidationError(problems) from None


def _near(error: ErrorDetails) -> str | None:
    """The allowed value that is spelt most like the one that was given."""
    allowed = [text.strip(" '") for text in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    given = error["input"] if isinstance(error["input"], str) else ""
    return next(iter(get_close_matches(given[:_LOOKED_AT].lower(), allowed, 1)), None)


def _unknown(kind: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """The message about a name that a model, or a model within it, does not have."""
    *above, name = place
    for part in above:
        inner = kind.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return "is not known here"
        kind = inner
    what = "is not a parameter" if above[-1:] == ["params"] else "is not known here"
    near = get_close_matches(str(name)[:_LOOKED_AT], kind.model_fields, 1)
    return f"{what}; did you mean {near[0]}?" if near else f"{what}; there are {', '.join(kind.model_fields)}"


async def json_body(request: Request, kind: type[Model], max_bytes: int = FIELD_BYTES) -> Model:
    """A small JSON body of one kind."""
    return validated(kind, await json_value(request, max_bytes))
