"""Who may ask what: API keys, checked before a body is read, or without any key this machine alone."""

import hashlib
import logging
import time
from asyncio import get_running_loop
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.settings import Settings
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope as KeyScope
from service.access import ACCESS, Access, AccessRules
from service.errors import database_away, problem
from service.middleware.local import foreign_host, foreign_origin, is_loopback

log = logging.getLogger(__name__)
COOKIE = "anchorhood_key"
_REMEMBERED = 1.0  # seconds after which a revoked key is refused by every process
_MOST_REMEMBERED = 4096
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")  # what an answer that is no page may load


class Keyring:
    """What the database says of keys, each answer remembered for a second."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._required = not is_loopback(settings.host)  # whoever is reachable never opens, even with an empty table
        self._asked = float("-inf")
        self._known: dict[bytes, tuple[float, tuple[str, KeyScope] | None]] = {}

    async def required(self) -> bool:
        """Whether requests need a key."""
        if not self._required and time.monotonic() - self._asked > _REMEMBERED:
            self._required = await run_in_threadpool(keys.required, self._db)
            self._asked = time.monotonic()
        return self._required

    async def scope(self, text: str) -> KeyScope | None:
        """What a key may do; ``None`` where it is wrong or revoked."""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        since, key = self._known.get(digest, (float("-inf"), None))
        if time.monotonic() - since > _REMEMBERED:
            key = await run_in_threadpool(keys.verify, self._db, text)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (time.monotonic(), key)
            if key:
                get_running_loop().run_in_executor(None, self._use, key[0])
        return key[1] if key else None

    def _use(self, key_id: str) -> None:
        try:
            keys.record_use(self._db, key_id)
        except Exception:  # a request must not fail because its time could not be noted
            log.warning("the use of key %s could not be recorded", key_id, exc_info=True)


class Guard:
    """Refuses requests without the right key, and sets the security headers of every answer."""

    def __init__(self, app: ASGIApp, keyring: Keyring, routes: Sequence[BaseRoute]) -> None:
        """``routes`` are those that the server starts with: Starlette makes this when they are complete."""
        self._app, self._keyring, self._rules = app, keyring, AccessRules(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                header_values = dict(message["headers"])
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in header_values)]
                if _NOTHING[0] not in header_values and not header_values.get(b"content-type", b"").startswith(b"text/html"):
                    message["headers"].append(_NOTHING)
            await send(message)

        access = self._rules.of(scope["method"], scope["path"])
        scope[ACCESS] = access
        try:
            refusal = await self._refusal(scope, access)
        except Exception as error:  # of the database or of its driver
            refusal = database_away(error)
            if refusal is None:
                raise
        await (refusal or self._app)(scope, receive, secured)

    async def _refusal(self, scope: Scope, access: Access | None) -> ASGIApp | None:
        if access is None:
            return _closing(problem(403, "not_declared", "nobody may ask this: its route does not say what key it needs"))
        headers = dict(scope["headers"])
        if not await self._required(access):
            foreign = foreign_host(headers) or foreign_origin(headers)
            return problem(403, *foreign) if foreign else None
        if access.scope is None:
            return None
        text, from_cookie = _credentials(headers)
        if from_cookie and (foreign := foreign_origin(headers)):
            return problem(403, *foreign)
        held = await self._keyring.scope(text) if text else None
        if held is None:
            what = "this key is wrong or was revoked" if text else "a key is needed"
            detail = f"{what}; send one as `Authorization: Bearer ah_…` (`anchorhood keys create` makes one)"
            return _closing(problem(401, "unauthorized", detail))
        if not held.covers(access.scope):
            return _closing(problem(403, "scope_too_small", f"this needs a key of scope {access.scope}; yours has {held}"))
        return None

    async def _required(self, access: Access) -> bool:
        try:
            return await self._keyring.required()
        except Exception:
            if access.scope is None:  # whether the process lives can be asked without a database
                return False
            raise


def _closing(refusal: Response) -> ASGIApp:
    """Ends the connection too, so that a body which nobody will read is not sent."""
    refusal.headers["Connection"] = "close"
    if refusal.status_code == 401:
        refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal


def _credentials(headers: dict[bytes, bytes]) -> tuple[str, bool]:
    """A request's key, and whether a browser added it by itself."""
    kind, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return text.strip(), False
    try:
        cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        cookie = None
    return (cookie.value if cookie else ""), True


def describe(schema: dict[str, Any], rules: AccessRules) -> dict[str, Any]:
    """Add to an OpenAPI document which operation needs a key of which scope."""
    about = "An API key. Without any key made, only this machine is served and none is needed."
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": about}
    schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "What `POST /session` sets."}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            access = rules.of(method.upper(), path)
            if access and access.scope:
                operation["security"] = [{"key": [access.scope.value]}, {"cookie": [access.scope.value]}]
    return schema
