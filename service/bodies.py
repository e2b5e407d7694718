"""Bodies that are read whole: JSON whose texts every database can hold, as models."""

import re
from difflib import get_close_matches
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import Request

from core.errors import BadRequest, TooLarge

FIELD_BYTES = 64 << 10  # of a small JSON body, and of all fields of a form but its file
SMALL_BYTES = 1 << 20  # of a body with a few values
QUERY_BYTES = 16 << 20  # of a query with many ids or vectors
TABLE_BYTES = 64 << 20  # of a table of labels
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
    async for part in request.stream():
        data += part
        if len(data) > max_bytes:
            raise TooLarge(f"more than {max_bytes:,} bytes, which is the most allowed")
    return bytes(data)


def parse_json(data: bytes | str) -> object:
    """JSON whose texts every database can hold.

    Raises:
        BadRequest: it is not JSON, is nested too deeply, or holds NUL or half of a character (a lone surrogate).
    """
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from error
    if _NUL.search(data if isinstance(data, bytes) else data.encode()):
        raise BadRequest("not allowed in JSON: NUL")
    return value


async def json_value(request: Request, max_bytes: int) -> object:
    """A JSON body.

    Raises:
        BadRequest: it is refused by ``parse_json``.
        TooLarge: it is longer than ``max_bytes``.
    """
    return parse_json(await read_body(request, max_bytes))


def validated(kind: type[Model], body: object, where: str | None = "body") -> Model:
    """A request's body as a model. Errors are reported as FastAPI does; an unknown name gets the nearest known one suggested."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problems = [{**item, "loc": (*([where] if where else []), *item["loc"])} for item in error.errors()]
        for item, original in zip(problems, error.errors(), strict=True):
            if original["type"] == "extra_forbidden":
                item["msg"] = _unknown(kind, original["loc"])
            elif original["type"] == "literal_error" and (near := _near(original)):
                item["msg"] = f"{original['msg']}; did you mean {near}?"
            elif original["type"] == "value_error":  # in our own words, without pydantic's before them
                item["msg"] = str(original["ctx"]["error"])
        raise RequestValidationError(problems) from error


def _near(error: ErrorDetails) -> str | None:
    """The allowed value that is spelt most like the one that was given."""
    allowed = [text.strip(" '") for text in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return next(iter(get_close_matches(str(error["input"]).lower(), allowed, 1)), None)


def _unknown(kind: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """The message about a name that a model, or a model within it, does not have."""
    *above, name = place
    for part in above:
        inner = kind.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return "is not known here"
        kind = inner
    what = "is not a parameter" if above[-1:] == ["params"] else "is not known here"
    near = get_close_matches(str(name), kind.model_fields, 1)
    return f"{what}; did you mean {near[0]}?" if near else f"{what}; there are {', '.join(kind.model_fields)}"


async def json_body(request: Request, kind: type[Model], max_bytes: int = FIELD_BYTES) -> Model:
    """A small JSON body of one kind."""
    return validated(kind, await json_value(request, max_bytes))
