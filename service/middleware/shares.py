"""How much of the service one client may have: a key, or an address where there are no keys."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from core.ground.waiting import go_on
from core.settings import Settings
from service.access import ACCESS, EVENT_STREAM, HELD, Access, is_upload
from service.errors import problem

SHARE = "anchorhood.share"  # where a request's scope holds the ``Share`` of its client
AT_WORK = 32  # requests of all clients that are worked on at the same time: fewer than threads, so that keys can be looked up
_PATIENCE = 2.0  # seconds that a request waits for others of its client to end
_BURST = 10  # seconds' worth of requests that may come at once
_CLIENTS = 10_000  # that are remembered
_STREAMS = 16  # times as many as of one client are open to all of them


class TooMany(Exception):
    """A client wants more than its share; ``seconds`` until it may ask again."""

    def __init__(self, detail: str, seconds: float = 1) -> None:
        super().__init__(detail)
        self.seconds = max(1, ceil(seconds))

    def answer(self) -> Response:
        answer = problem(429, "too_many_requests", str(self))
        answer.headers["Retry-After"] = str(self.seconds)
        return answer


class Share:
    """What one client has at the moment."""

    def __init__(self, settings: Settings, streams: "Counter") -> None:
        self._rate, self._most, self._all_streams = settings.max_requests_per_second, settings.max_requests, streams
        self._left, self._since = self._rate * _BURST, time.monotonic()
        self._streams = Counter(settings.max_streams)
        self.work = asyncio.Semaphore(settings.max_requests)
        self.searches = asyncio.Semaphore(max(1, settings.max_requests // 4))  # batches, which take long
        self.users = 0  # requests that use this share

    def take(self) -> None:
        """Count one request. Raises ``TooMany`` where they come too fast."""
        now = time.monotonic()
        self._left = min(self._rate * _BURST, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            detail = f"more than {self._rate:g} requests a second, which is the most that one client may send"
            raise TooMany(detail, (1 - self._left) / self._rate)
        self._left -= 1

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One that is open as long as the block runs. Raises ``TooMany`` where there are too many of them."""
        with self._streams.one("of one client"), self._all_streams.one("of all clients"):
            yield

    async def wait(self) -> None:
        """Until fewer than the most requests of this client are worked on; ``work`` is then to be released."""
        if not self.work.locked():  # a timer takes longer
            await self.work.acquire()
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.work.acquire()
        except TimeoutError as error:
            raise TooMany(f"{self._most} requests of this client are worked on, which is the most at the same time") from error


class Counter:
    """Of what may not be more than ``most``."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, 0

    @contextmanager
    def one(self, whose: str) -> Iterator[None]:
        if self._open >= self._most:
            raise TooMany(f"{self._open} uploads and event streams {whose} are open, which is the most at the same time", 5)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class Shares:
    """Refuses with 429 what is more than a client's share, and lets a little more wait.

    Uploads and event streams are counted for themselves: they last long and do little.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._shares: dict[str, Share] = {}
        self._streams = Counter(_STREAMS * settings.max_streams)
        self._at_work = asyncio.Semaphore(AT_WORK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        access = scope.get(ACCESS)
        if scope["type"] != "http" or not isinstance(access, Access) or access.at_once:
            await self._app(scope, receive, send)
            return
        share = scope[SHARE] = self._share_of(scope)
        share.users += 1
        try:
            share.take()
            if is_upload(scope) or (access.stream and _wants_stream(scope)):
                with share.stream():
                    await self._app(scope, receive, send)
                return
            await share.wait()
            try:
                async with self._at_work:
                    go_on()
                    await self._app(scope, receive, send)
            finally:
                share.work.release()
        except TooMany as error:
            await error.answer()(scope, receive, send)
        finally:
            share.users -= 1

    def _share_of(self, scope: Scope) -> Share:
        held = scope.get(HELD)
        client = held.id if held is not None else (scope.get("client") or ("",))[0]
        share = self._shares.get(client)
        if share is None:
            if len(self._shares) >= _CLIENTS:
                self._shares = {name: share for name, share in self._shares.items() if share.users}
            share = self._shares[client] = Share(self._settings, self._streams)
        return share


def _wants_stream(scope: Scope) -> bool:
    return any(name == b"accept" and EVENT_STREAM.encode() in value for name, value in scope["headers"])
