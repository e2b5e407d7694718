"""HTTP/1.1 as uvicorn speaks it, with bounds on all that is no declared body, and on clients that read or send too slowly."""

from asyncio import TimerHandle, Transport
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core.ground.waiting import Wait

WAIT = "anchorhood.wait"  # where a request's scope holds its ``Wait``
_HEAD_SECONDS = 30.0  # that a request's line and headers may take
_HEAD_BYTES = 64 << 10  # of a request's line and headers, of its trailers, and of what stands between two pieces of its body
_LEFT_BYTES = 256 << 20  # of a body that come after the answer: read and forgotten, so that a client that sends hears why not
_KEPT_BYTES = 1 << 20  # of a body that nobody takes
_WAITING = 100  # requests that may wait behind an earlier one on the same connection
_UNREAD_SECONDS = 60.0  # in which a client that has an answer waiting must read _READ_BYTES of it, or all
_READ_BYTES = 64 << 10


class Protocol(HttpToolsProtocol):
    """Cuts connections; uvicorn has no limits for these."""

    _apart = 0  # bytes since the last one of a body
    _left = 0  # bytes of a body that came after the answer
    _in_head = True
    _running: RequestResponseCycle | None = None  # of several requests uvicorn knows the last one
    _head_timer: TimerHandle | None = None
    _unread_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._unread_timer):
            if timer:
                timer.cancel()
        for cycle in [self._running, *(waiting for waiting, _ in self.pipeline)]:
            if cycle is not None and not cycle.response_complete:
                cast(dict[str, Any], cycle.scope)[WAIT].over = cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)
        self._apart += len(data)
        super().data_received(data)
        if self._apart > _HEAD_BYTES or self._left > _LEFT_BYTES or len(self.pipeline) > _WAITING:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[WAIT] = Wait()

    def on_headers_complete(self) -> None:
        self._in_head, self._apart, self._left = False, 0, 0
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._apart = 0
        super().on_body(body)
        if self.cycle is None:
            return
        if self.cycle.response_complete:
            self._left += len(body)
        elif len(self.cycle.body) > _KEPT_BYTES:  # uvicorn pauses long before, but not behind an earlier request
            self.transport.close()

    def on_message_complete(self) -> None:
        self._in_head, self._apart = True, 0
        super().on_message_complete()
        if not self.pipeline:  # a body that is complete needs no pause; while reading pauses, nobody notices that a client goes
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._look_again()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread_timer:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _look_again(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(_UNREAD_SECONDS, self._give_up, unread)

    def _give_up(self, before: int) -> None:
        """Let go of an answer of which too little was read; a connection that is merely closed would wait for its reader."""
        if before - self.transport.get_write_buffer_size() < _READ_BYTES:
            self.transport.abort()
        else:
            self._look_again()
