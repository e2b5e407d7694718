"""Who may ask what: API keys, checked before a body is read, or without any key this machine alone."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.store import visible
from core.store.keys import Held
from service.access import ACCESS, HELD, SAFE_METHODS, Access, AccessRules
from service.errors import database_away, problem
from service.middleware.keyring import Keyring, session_in
from service.middleware.local import Headers, foreign_host, foreign_origin, forwarded
from service.middleware.sizes import oversized, plain_cookies

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")  # what an answer that is no page may load


class Guard:
    """Refuses requests without the right key, and sets the security headers of every answer."""

    def __init__(self, app: ASGIApp, keyring: Keyring, routes: Sequence[BaseRoute]) -> None:
        """``routes`` are those that the server starts with: Starlette makes this when they are complete."""
        self._app, self._keyring, self._rules = app, keyring, AccessRules(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there is none, and none could declare who may open it
            await send({"type": "websocket.close", "code": 1008})
            return
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

        refusal: ASGIApp | None = oversized(scope)
        if refusal is not None:
            await refusal(scope, receive, secured)
            return
        plain_cookies(scope)
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
            foreign = forwarded(headers) or foreign_host(headers) or foreign_origin(headers)
            return problem(403, *foreign) if foreign else None
        if access.scope is None:  # a page of another site may not log in or out, either
            foreign = None if scope["method"] in SAFE_METHODS else foreign_origin(headers)
            return problem(403, *foreign) if foreign else None
        text, from_cookie = _credentials(headers)
        if from_cookie and (foreign := foreign_origin(headers)):
            return problem(403, *foreign)
        held = await self._held(text, from_cookie)
        if held is None:
            what = "a key is needed"
            if text:
                what = "this session is over" if from_cookie else "this key is wrong, was revoked or has expired"
            detail = f"{what}; send one as `Authorization: Bearer ah_…` (`anchorhood keys create` makes one)"
            return _closing(problem(401, "unauthorized", detail))
        scope[HELD] = held
        if not held.scope.covers(access.scope):
            return _closing(problem(403, "scope_too_small", f"this needs a key of scope {access.scope}; yours has {held.scope}"))
        visible.limit_to(held.id if held.limited else None)
        return None

    async def _held(self, text: str, from_cookie: bool) -> Held | None:
        if not text:
            return None
        return await (self._keyring.of_session(text) if from_cookie else self._keyring.of_key(text))

    async def _required(self, access: Access) -> bool:
        if access.at_once:
            return self._keyring.closed()
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


def _credentials(headers: Headers) -> tuple[str, bool]:
    """A request's key, or the session that a browser added by itself; and whether it is the latter."""
    kind, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return text.strip(), False
    return session_in(headers), True


def describe(schema: dict[str, Any], rules: AccessRules) -> dict[str, Any]:
    """Add to an OpenAPI document which operation needs a key of which scope."""
    about = "An API key. Without any key made, only this machine is served and none is needed."
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["key"] = {"type": "http", "scheme": "bearer", "description": about}
    session = "What `POST /session` sets: the id of a session. Its name carries the host and port of the address."
    schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": "anchorhood-localhost-8000", "description": session}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            access = rules.of(method.upper(), path)
            if access and access.scope:
                operation["security"] = [{"key": [access.scope.value]}, {"cookie": [access.scope.value]}]
    return schema
