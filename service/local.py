"""Protection of a service without keys, which listens on loopback only."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import problem


def is_loopback(host: str) -> bool:
    """Whether a name or address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class LocalOnly:
    """Refuses requests under another name than this machine's (DNS rebinding) and those of another site's page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            refusal = _refusal(headers.get(b"host", b""), headers.get(b"origin", b""))
        if refusal:
            await problem(403, *refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@lru_cache(1024)
def _refusal(host_: bytes, origin_: bytes) -> tuple[str, str] | None:
    host, origin = host_.decode("latin-1"), origin_.decode("latin-1")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        origin_host = urlsplit(origin).netloc
    except ValueError:
        name = origin_host = ""
    if not is_loopback(name):
        return "foreign_host", f"Host {host!r} is not this machine; use localhost or 127.0.0.1"
    if origin and origin_host != host:
        return "foreign_origin", f"requests from pages of {origin} are not allowed"
    return None
