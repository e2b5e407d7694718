"""Below which path of a proxy the service is seen, such as nginx's ``location /anchorhood/``."""

import re

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WELL_FORMED = re.compile(r"(/[A-Za-z0-9._~-]+)*")  # never //, which would lead to another host
_KEY = "anchorhood.prefix"


class Prefix:
    """Notes the prefix that ``X-Forwarded-Prefix`` or the settings name, and puts it before what ``Location`` names.

    Who sends the header decides about the links of his own answer only, so that it is believed from everybody. Of a proxy that
    does not take the prefix off, which only the settings tell of, it is taken off here.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = (_forwarded(scope) or self._root) if scope["type"] == "http" else ""
        if not prefix:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == self._root:  # relative links of the page need its slash
            await RedirectResponse(f"{self._root}/")(scope, receive, send)
            return
        if self._root and path.startswith(f"{self._root}/"):
            path = path[len(self._root) :]

        async def below(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_below(prefix, *header) for header in message["headers"]]
            await send(message)

        await self._app({**scope, "path": path, _KEY: prefix}, receive, below)


def prefix_of(request: HTTPConnection) -> str:
    """What stands before every path of the service, such as ``/anchorhood``; mostly nothing."""
    prefix: str = request.scope.get(_KEY, "")
    return prefix


def _forwarded(scope: Scope) -> str:
    """The prefix in the headers; several proxies name theirs from the outermost one on. A malformed one is none."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
    prefix = "".join(part.strip().rstrip("/") for part in ",".join(values).split(","))
    return prefix if _WELL_FORMED.fullmatch(prefix) else ""


def _below(prefix: str, name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return name, prefix.encode() + value if name == b"location" and value.startswith(b"/") else value
