"""The time that a request may take. A client that has gone, or has waited in vain, ends the work of its request."""

import asyncio
from asyncio import TimerHandle

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ground.waiting import Abandoned, Wait, set_wait
from service.access import is_upload
from service.errors import problem
from service.middleware.protocol import WAIT


class Deadlines:
    """Answers 503 to a request whose answer has not begun in time.

    The time of an upload begins with its last byte: between two of its bytes may pass what ``Limits`` allows. Once an answer has
    begun, ``Protocol`` looks after it. Work in a thread cannot be ended from outside, so that it asks between its steps; until
    it has ended, the request holds its part of the client's share.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        wait: Wait = scope.setdefault(WAIT, Wait())
        set_wait(wait)
        begun = False  # whether the answer has
        ends: float | None = None
        timer: TimerHandle | None = None
        refusing: asyncio.Task[None] | None = None

        def start() -> None:
            nonlocal ends, timer
            ends = loop.time() + self._seconds
            timer = loop.call_at(ends, expire)

        def expire() -> None:
            nonlocal refusing
            if refusing:
                return
            wait.over = True
            detail = f"there was no answer within {self._seconds:g} seconds, the longest that a request may take"
            refusal = problem(503, "took_too_long", detail)
            refusal.headers["Connection"] = "close"
            refusing = loop.create_task(refusal(scope, receive, send))

        async def in_time() -> Message:
            while True:
                try:
                    async with asyncio.timeout_at(None if begun else ends):
                        message = await receive()
                except TimeoutError as error:
                    if begun:
                        continue
                    expire()  # of two timers of one moment either may be first
                    raise Abandoned from error
                if timer is None and not message.get("more_body", False):
                    start()
                return message

        async def answer(message: Message) -> None:
            nonlocal begun
            if refusing is None:
                begun = True
                if timer:
                    timer.cancel()
                await send(message)

        if not is_upload(scope):
            start()
        try:
            await self._app(scope, in_time, answer)
        except Abandoned:
            if not wait.over:
                raise
        finally:
            if timer:
                timer.cancel()
            if refusing:
                await refusing
