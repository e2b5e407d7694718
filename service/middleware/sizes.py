"""How long what comes before a body may be."""

from starlette.responses import Response
from starlette.types import Scope

from service.errors import problem

_ADDRESS_BYTES = 8 << 10  # of a path with its query
_HEADER_BYTES = 32 << 10  # of all headers together
_HEADERS = 100


def oversized(scope: Scope) -> Response | None:
    """The refusal of a request before anything looks into its address or its headers; ``None`` where they are short enough."""
    headers, refusal = scope["headers"], None
    if len(scope["raw_path"]) + len(scope["query_string"]) > _ADDRESS_BYTES:
        refusal = problem(414, "address_too_long", f"path and query are longer than {_ADDRESS_BYTES:,} bytes, the most allowed")
    elif len(headers) > _HEADERS or sum(len(name) + len(value) for name, value in headers) > _HEADER_BYTES:
        most = f"{_HEADERS} headers or {_HEADER_BYTES:,} bytes of them"
        refusal = problem(431, "headers_too_long", f"more than {most}, which is the most allowed")
    if refusal is not None:
        refusal.headers["Connection"] = "close"
    return refusal


def plain_cookies(scope: Scope) -> None:
    """Take the quotes out of a request's cookies: FastAPI reads those of every request, and ``http.cookies`` takes quadratic
    time for a quoted one. No value of ours is quoted."""
    headers = scope["headers"]
    if any(name == b"cookie" and b'"' in value for name, value in headers):
        scope["headers"] = [(name, value.replace(b'"', b"") if name == b"cookie" else value) for name, value in headers]
