"""What is noted of every request: its id, how it was answered, how long that took."""

import random
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ground import logs, traces
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
        kept = _ID.fullmatch(sent_id) and b"ah_" not in sent_id.lower()  # a key is as long, and the id is written everywhere
        request_id = sent_id if kept else b"%016x" % random.getrandbits(64)
        logs.set_fields(request_id=request_id.decode())  # to the end of the task: the server logs after this returns

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._note(scope, status, time.perf_counter() - began)
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        sent_trace = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), None)
        with traces.span("request", sent_trace, request_id=request_id.decode()) as about:
            try:
                await self._app(scope, receive, noted)
            except Exception:
                if not status:  # the answer is made outside of every middleware
                    status = 500
                    self._note(scope, status, time.perf_counter() - began)
                raise
            finally:
                method, route = _named(scope)
                about |= {"name": f"{method} {route}", "http.route": route, "http.response.status_code": status}

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _named(scope)
        figures = self._known.get((method, route, status))
        if figures is None:
            metrics = self._metrics
            figures = metrics.requests.labels(method, route, status), metrics.seconds.labels(method, route)
            self._known[method, route, status] = figures
        figures[0].inc()
        figures[1].observe(seconds)


def _named(scope: Scope) -> tuple[str, str]:
    """A request's method and the template of its route."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return method, getattr(scope.get("route"), "path", _UNMATCHED)
