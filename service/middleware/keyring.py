"""Which key a request comes with: as a header, or as a page's session in a cookie."""

import hashlib
import logging
import re
import time
from asyncio import get_running_loop
from collections.abc import Callable
from datetime import timedelta

from starlette.concurrency import run_in_threadpool

from core.settings import Settings
from core.store import keys, sessions
from core.store.db import Database
from core.store.keys import Held
from service.middleware.local import Headers, is_loopback

log = logging.getLogger(__name__)
_REMEMBERED = 1.0  # seconds after which a revoked key is refused by every process
_MOST_REMEMBERED = 4096
_LONGEST_HOST = 100  # characters of a cookie's name


class Keyring:
    """What the database says of keys and sessions, each answer remembered for a second."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._idle = db, timedelta(hours=settings.session_hours)
        self._required = not is_loopback(settings.host)  # whoever is reachable never opens, even with an empty table
        self._asked = float("-inf")
        self._known: dict[bytes, tuple[float, Held | None]] = {}

    async def required(self) -> bool:
        """Whether requests need a key."""
        if not self._required and time.monotonic() - self._asked > _REMEMBERED:
            self._required = await run_in_threadpool(keys.required, self._db)
            self._asked = time.monotonic()
        return self._required

    def closed(self) -> bool:
        """Whether requests need a key, as far as is known without asking the database."""
        return self._required

    async def of_key(self, text: str) -> Held | None:
        """A key; ``None`` where it is wrong, was revoked or has expired."""
        verify, use = keys.verify, keys.record_use
        return await self._remembered(f"key {text}", lambda: verify(self._db, text), lambda: use(self._db, text.split("_")[1]))

    async def of_session(self, text: str) -> Held | None:
        """A session's key; ``None`` where the session, or its key, is over."""

        def use() -> None:
            sessions.record_use(self._db, text)
            if held := sessions.verify(self._db, text, self._idle):
                keys.record_use(self._db, held.id)

        return await self._remembered(f"session {text}", lambda: sessions.verify(self._db, text, self._idle), use)

    async def start_session(self, held: Held) -> str:
        """The id of a new session of a key."""
        return await run_in_threadpool(sessions.start, self._db, held.id, self._idle)

    async def end_session(self, text: str) -> None:
        """End a session: here at once, in other processes within a second."""
        await run_in_threadpool(sessions.end, self._db, text)
        self._known.pop(_digest(f"session {text}"), None)

    async def _remembered(self, what: str, verify: Callable[[], Held | None], use: Callable[[], None]) -> Held | None:
        digest = _digest(what)
        since, held = self._known.get(digest, (float("-inf"), None))
        if time.monotonic() - since > _REMEMBERED:
            held = await run_in_threadpool(verify)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (time.monotonic(), held)
            if held:
                get_running_loop().run_in_executor(None, _noted, held, use)
        return held


def _noted(held: Held, use: Callable[[], None]) -> None:
    try:
        use()
    except Exception:  # a request must not fail because its time could not be noted
        log.warning("the use of key %s could not be recorded", held.id, exc_info=True)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def cookie_name(headers: Headers) -> str:
    """The name of a session's cookie, which carries the host and port that the browser asked: cookies know no ports, so that
    two services of one machine would otherwise take each other's."""
    host = headers.get(b"host", b"")[:_LONGEST_HOST].decode("latin-1").lower()
    return "anchorhood-" + re.sub(r"[^a-z0-9.-]", "-", host)


def session_in(headers: Headers) -> str:
    """The session in a request's cookies, or nothing. ``http.cookies`` takes quadratic time for a long cookie of quotes."""
    name = cookie_name(headers)
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""
