"""Every route says who may ask it and how long a body it reads; what says nothing is refused to everybody."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.routing import iter_route_contexts
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Asgi

from core.settings import Settings
from core.store import migrate
from core.store.db import Database
from core.store.keys import Scope
from service.access import SAFE_METHODS, Access, AccessRules, Body, needs, open_to_all
from service.app import create_app
from service.middleware.auth import Guard
from tests.service.answers import problem
from tests.service.serving import serving

ODD = (
    "/datasets\n",
    "/neighbours\n",
    "/jobs/check",
    "/jobs/check/",
    "/datasets//images",
    "/images/1/attention/2/3",
    "",
    "//",
    "/no",
)
LONG = {
    ("POST", "/session"): Body.TINY,
    ("POST", "/neighbours"): Body.IMAGE,
    ("POST", "/classify"): Body.IMAGE,
    ("PUT", "/datasets/{dataset_id}/labels"): Body.TABLE,
    ("POST", "/datasets/{dataset_id}/deletions"): Body.LIST,
    ("POST", "/datasets"): Body.ARCHIVE,
    ("POST", "/datasets/{dataset_id}/images"): Body.ARCHIVE,
    ("POST", "/jobs"): Body.ARCHIVE,
}


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    """With SQLite alone: who may ask a route is no matter of the database."""
    migrate.upgrade(settings.database)
    made = create_app(settings)
    yield made
    made.state.context.db.dispose()


def ask(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, **request)

    with ThreadPoolExecutor(1) as thread:  # Playwright leaves a loop running in that of the tests
        return thread.submit(asyncio.run, asked()).result()


def test_every_route_declares_its_access(app: FastAPI) -> None:
    routes = {(method, route.path) for route in iter_route_contexts(app.routes) for method in route.methods or ()}
    assert {("HEAD", "/neighbours"), ("GET", "/docs"), ("HEAD", "/"), ("GET", "/metrics"), ("DELETE", "/session")} <= routes
    assert len(routes) > 70
    rules = AccessRules(app.routes)
    assert rules.undeclared() == []
    for method, path in routes:
        access = rules.of(method, path or "")
        assert access is not None
        usual = Body.SMALL if access.scope else Body.NONE
        assert access.body is LONG.get((method, path or ""), usual), (method, path)
        if access.scope is None:
            assert (path or "").startswith(("/page/", "/session")) or path in (
                "/",
                "/docs",
                "/openapi.json",
                "/healthz",
                "/readyz",
            )


def test_the_rule_is_that_of_the_route_which_answers(app: FastAPI) -> None:
    contexts = list(iter_route_contexts(app.routes))
    rules = AccessRules(app.routes)
    paths = [*ODD, *(re.sub(r"{\w+(:path)?}", value, route.path or "") for route in contexts for value in ("1", "a b", "ä\n"))]
    for path in paths:
        for method in (*SAFE_METHODS, "POST", "PUT", "PATCH", "DELETE", "TRACE"):
            matching = (route for route in contexts if method in (route.methods or ()) and route.path_regex.match(path))
            route = next(matching, None)
            if route is not None:
                assert rules.of(method, path) == vars(route.endpoint)["declared_access"], (method, path)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/nothing", Scope.READ),
        ("POST", "/nothing", Scope.WRITE),
        ("DELETE", "/datasets", Scope.WRITE),
        ("PUT", "/neighbours", Scope.READ),
        ("POST", "/neighbours/", Scope.WRITE),
        ("GET", "/redoc", Scope.READ),
        ("POST", "/healthz", None),
        ("GET", "/healthz/", None),
        ("PATCH", "/session", None),
        ("GET", "/session/x", Scope.READ),
    ],
)
def test_what_is_not_there_is_told_to_those_who_may_ask(app: FastAPI, method: str, path: str, scope: Scope | None) -> None:
    assert AccessRules(app.routes).of(method, path) == Access(scope, Body.TABLE)


async def endpoint(scope: Asgi, receive: Receive, send: Send) -> None:
    await PlainTextResponse("here")(scope, receive, send)


class Raw:
    """An ASGI object as an endpoint."""

    async def __call__(self, scope: Asgi, receive: Receive, send: Send) -> None:
        await endpoint(scope, receive, send)


def test_a_route_that_declares_nothing_is_closed(app: FastAPI) -> None:
    router = APIRouter()

    @router.get("/included")
    def included() -> str:
        return "here"

    @app.post("/direct")
    def direct() -> str:
        return "here"

    @app.get("/declared")
    @needs(Scope.ADMIN)
    def declared() -> str:
        return "here"

    app.include_router(router, prefix="/below")
    app.router.routes += [
        Route("/raw", Raw(), methods=["GET", "POST"]),
        Route("/raw/declared", needs(Scope.READ)(Raw()), methods=["GET"]),
        Route("/raw/open", open_to_all(Raw()), methods=["GET"]),
    ]
    for method, path in (("GET", "/below/included"), ("POST", "/direct"), ("GET", "/raw"), ("HEAD", "/raw"), ("POST", "/raw")):
        problem(ask(app, method, path), 403, "not_declared", method)
    for path in ("/declared", "/raw/declared", "/raw/open"):
        assert ask(app, "GET", path).status_code == 200, path
    assert set(AccessRules(app.routes).undeclared()) >= {"GET /below/included", "POST /direct"}


def test_what_can_declare_nothing_does_not_start(app: FastAPI) -> None:
    app.router.routes.append(Mount("/mounted", app=Raw()))
    with pytest.raises(TypeError, match="names no methods"):
        ask(app, "GET", "/healthz")


def test_a_route_reads_little_unless_it_declares_more(settings: Settings, db: Database) -> None:
    long = bytes((64 << 10) + 1)
    with serving(settings, db) as client:
        for method, path in (
            ("POST", "/jobs/1/cancel"),
            ("PUT", "/datasets/1/model"),
            ("POST", "/jobs/check"),
        ):
            problem(client.request(method, path, content=long), 413, "too_large")
            assert client.request(method, path, content=long[:-1]).status_code != 413
        for path in ("/neighbours", "/nothing", "/datasets/"):
            assert client.post(path, content=long).status_code in (307, 404, 422), path


def test_a_websocket_is_refused_before_any_route_of_one(app: FastAPI) -> None:
    """Whatever may be mounted behind the guard: it says nothing of scopes to a WebSocket, so that none may be opened."""
    sent: list[Message] = []

    async def opens(scope: Asgi, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(opens, app.state.keyring, [])
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, guard({"type": "websocket", "path": "/", "headers": []}, receive, send)).result()
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_route_of_a_websocket_does_not_start(app: FastAPI) -> None:
    @app.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()

    with pytest.raises(TypeError, match="names no methods"):
        ask(app, "GET", "/healthz")
