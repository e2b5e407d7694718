"""Each write leaves a line in the audit trail: who sent it, what it was about, how it was answered."""

import logging
import re
import time
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ground import logs
from core.store.audit import Audit, Entry
from core.store.columns import now
from core.store.db import Database, error_text
from core.store.keys import Held
from core.store.keys import Scope as KeyScope
from service.access import ACCESS, HELD, SAFE_METHODS, Access

log = logging.getLogger(__name__)
MORE = "more_refused"  # the action of the line that stands for all further ones of a minute
_MOST_UNDONE = 60  # lines a minute and key of requests that wrote nothing, so that nobody fills the disk with them
_MINUTE = 60.0
_OBJECT = re.compile(r"(?:ds|job|mdl)_[0-9a-f]{16}|[0-9]{1,19}|[0-9a-f]{12}")  # ids of images and of keys, too


class Audited:
    """Stands around the guard, so that it sees what that refuses.

    A request that writes takes its line along in its transaction. The line of one that wrote nothing is written before the
    answer goes out, and a line that foretold another answer is put right then.
    """

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self._app, self._db = app, db
        self._undone: dict[str | None, tuple[float, int]] = {}  # by key: the beginning of a minute, and the lines in it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        status: int | None = None
        entry = Entry(lambda: _line(scope, status))
        entry.mention(*filter(_OBJECT.fullmatch, scope["path"].split("/")))

        async def recorded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await self._complete(entry, scope, status)
            await send(message)

        with entry.going_on():
            try:
                await self._app(scope, receive, recorded)
            except Exception:
                if status is None:  # the answer is made outside of every middleware
                    status = 500
                    await self._complete(entry, scope, status)
                raise

    async def _complete(self, entry: Entry, scope: Scope, status: int) -> None:
        if not _is_write(scope):
            return
        if status in (429, 503) and not entry.written:  # refused without a look at the database, which may be away or waited for
            return
        if not entry.written:
            held: Held | None = scope.get(HELD)
            before = self._count(held.id if held else None)
            if before > _MOST_UNDONE:
                return
            if before == _MOST_UNDONE:
                scope[ACCESS] = replace(scope[ACCESS], action=MORE)  # nobody else reads it any more
        elif not entry.outdated:
            return
        try:
            await run_in_threadpool(self._write, entry)
        except Exception as error:  # what is answered stays so
            log.error("the audit trail lacks a line: %s of %s: %s", scope[ACCESS].action, entry.objects, error_text(error))

    def _count(self, key_id: str | None) -> int:
        """How many lines of this key's undone requests the current minute has had before this one."""
        moment = time.monotonic()
        since, count = self._undone.get(key_id, (moment, 0))
        if moment - since >= _MINUTE:
            since, count = moment, 0
        self._undone[key_id] = since, count + 1
        return count

    def _write(self, entry: Entry) -> None:
        with self._db.write() as session:  # takes the line along if none did before
            entry.correct(session)


def _is_write(scope: Scope) -> bool:
    """Whether a request asks for more than an answer: the way to put a question with a body is POST, too."""
    access: Access | None = scope.get(ACCESS)
    return access is not None and bool(access.action) and access.scope is not KeyScope.READ


def _line(scope: Scope, status: int | None) -> Audit | None:
    if not _is_write(scope):
        return None
    access: Access = scope[ACCESS]
    held: Held | None = scope.get(HELD)
    client = scope.get("client")
    return Audit(
        created_at=now(),
        key_id=held.id if held else None,
        session=held.session if held else None,
        address=client[0] if client else None,
        request_id=logs.context_fields().get("request_id"),
        action=access.action,
        status=status or getattr(scope.get("route"), "status_code", None) or 200,
    )
