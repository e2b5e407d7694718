"""What is noted of every request: its id, how it was answered, how long that took."""

import random
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ground import logs
from service.metrics import Metrics

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
)  # whatever else a client sends is one more, "other"
_UNMATCHED = "unmatched"  # no route: what was refused before routing, or is not there


class Observed:
    """The outermost middleware. An id that the client sent as ``X-Request-ID`` is kept if it is well-formed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}  # looking children up by labels takes longer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        sent_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent_id if _ID.fullmatch(sent_id) else b"%016x" % random.getrandbits(64)
        logs.set_fields(request_id=request_id.decode())  # to the end of the task: the server logs after this returns

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._note(scope, status, time.perf_counter() - began)
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if not status:  # the answer is made outside of every middleware
                self._note(scope, 500, time.perf_counter() - began)
            raise

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        figures = self._known.get((method, route, status))
        if figures is None:
            metrics = self._metrics
            figures = metrics.requests.labels(method, route, status), metrics.seconds.labels(method, route)
            self._known[method, route, status] = figures
        figures[0].inc()
        figures[1].observe(seconds)
