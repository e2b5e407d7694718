"""What a trusted proxy says of the connection outside: its scheme and its client's address."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_LONGEST = 1000  # bytes of a Forwarded header that are read
_PROTO = re.compile(rb'(?:^|[;,])\s?proto="?(https?)"?(?=[;,]|$)', re.IGNORECASE)


class Proxies:
    """Believes ``X-Forwarded-Proto``, ``X-Forwarded-For`` and the ``proto`` of ``Forwarded`` of trusted proxies alone."""

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """``trusted``: addresses and networks, separated by commas."""
        self._app = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (standard := _standard(scope["headers"])):
            scope = {**scope, "headers": [*scope["headers"], standard]}
        await self._app(scope, receive, send)  # type: ignore[arg-type]


def _standard(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """``Forwarded`` (RFC 7239) as ``X-Forwarded-Proto``, where the latter was not sent."""
    found = dict(headers)
    if b"forwarded" not in found or b"x-forwarded-proto" in found:
        return None
    match = _PROTO.search(found[b"forwarded"][:_LONGEST])
    return (b"x-forwarded-proto", match[1].lower()) if match else None
