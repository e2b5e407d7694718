"""``GET /neighbours`` and ``GET /classify`` in their usual form, answered before FastAPI resolves a route: that takes longer than
the search."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.search.searcher import Searcher, View
from core.search.snapshots import LITTLE
from core.search.votes import MIN_CONFIDENCE, MIN_LABELS, TEMPERATURE, K, classify
from core.store.db import AWAY
from service.schemas.answers import classified, neighbours_of

_MOST = 200  # neighbours or voters, and neighbours to pass over
_TOGETHER = 4  # searches in one turn of the event loop
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_NAME = re.compile(rb"[A-Za-z0-9_]{1,100}")
_NAMES = frozenset({b"dataset_id", b"model_id"})


@dataclass(frozen=True)
class PlainQuery:
    """What is asked of a stored image, without any filter; ``None`` for what the route's default is."""

    image_id: int
    k: int | None
    offset: int | None
    dataset_id: str | None
    model_id: str | None


class PlainSearches:
    """Stands right before the routes. What is asked in another form, or takes longer, goes on to them, and so does what is wrong:
    they say what.

    With SQLite the search runs on the event loop, since handing it to a thread takes as long; between two looks at what else
    happens only a few do. A database server may be away, so that there a thread waits for it.
    """

    def __init__(self, app: ASGIApp, searcher: Searcher, routes: Sequence[BaseRoute], on_loop: bool) -> None:
        """``routes``: among them those of the two paths."""
        self._app, self._searcher, self._on_loop = app, searcher, on_loop
        self._turns = asyncio.Semaphore(_TOGETHER)
        answers: dict[str, _Answer] = {"/neighbours": _neighbours, "/classify": _class}
        of_path = {route.path: route for route in routes if isinstance(route, Route) and "GET" in (route.methods or ())}
        self._known = {path: (answer, of_path[path]) for path, answer in answers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._known.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        asked = parsed(scope["query_string"]) if known else None
        body = None
        if known and asked:
            if self._on_loop:
                await self._turns.acquire()
                asyncio.get_running_loop().call_soon(self._turns.release)
                body = self._body(known[0], asked)
            else:
                body = await run_in_threadpool(self._body, known[0], asked)
        if known is None or body is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = known[1]  # what is counted and traced bears its name
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _body(self, answer: "_Answer", asked: PlainQuery) -> bytes | None:
        started = time.perf_counter()
        try:
            view = self._searcher.view_at_once(asked.image_id, asked.dataset_id, asked.model_id)
        except AWAY:
            return None
        values = view and answer(view, asked, started)
        return to_json(values) if values else None


_Answer = Callable[[View, PlainQuery, float], dict[str, object] | None]


def _neighbours(view: View, asked: PlainQuery, started: float) -> dict[str, object] | None:
    k = 10 if asked.k is None else asked.k
    found = view.snapshot.neighbours_at_once(asked.image_id, k, asked.offset or 0)
    return None if found is None else neighbours_of(view, started, found)


def _class(view: View, asked: PlainQuery, started: float) -> dict[str, object] | None:
    snapshot = view.snapshot
    row = snapshot.row(asked.image_id)
    if row is None or asked.offset is not None or len(snapshot.labelled) * view.dim > LITTLE:
        return None
    k = K if asked.k is None else asked.k
    vote = classify(snapshot, snapshot.vector(row), k, TEMPERATURE, MIN_CONFIDENCE, MIN_LABELS, leave_out=asked.image_id)
    return classified(view, started, vote)


def parsed(query: bytes) -> PlainQuery | None:
    """The parameters of a plain query as a client writes them; ``None`` for all that is not plain."""
    numbers: dict[bytes, int] = {}
    names: dict[bytes, str] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name in numbers or name in names:
            return None
        if name in _NAMES and _NAME.fullmatch(value):
            names[name] = value.decode()
        elif name in (b"image_id", b"k", b"offset") and _NUMBER.fullmatch(value):
            numbers[name] = int(value)
        else:
            return None
    image_id, k, offset = numbers.get(b"image_id"), numbers.get(b"k"), numbers.get(b"offset")
    if image_id is None or not 1 <= (1 if k is None else k) <= _MOST or (offset or 0) > _MOST:
        return None
    return PlainQuery(image_id, k, offset, names.get(b"dataset_id"), names.get(b"model_id"))
