"""A page's session: `<img>` and EventSource cannot send a header, so a page exchanges its key for a cookie."""

from typing import Literal, TypedDict

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from core.store.keys import Scope
from service.access import HELD, Body, open_to_all, open_with_body
from service.errors import problem
from service.middleware.keyring import Keyring, cookie_name, session_in
from service.middleware.prefix import prefix_of
from service.schemas.common import SessionBody, SessionRequest

router = APIRouter(tags=["session"])


class CookieAttributes(TypedDict):
    path: str
    httponly: bool
    samesite: Literal["strict"]
    secure: bool


@router.post("/session", response_model=SessionBody)
@open_with_body(Body.TINY)
async def open_session(body: SessionRequest, request: Request) -> Response:
    """Exchange a key for a session: a cookie with a random id, which scripts cannot read and other sites' pages cannot use. It
    ends by `DELETE /session`, when it is not used for the hours of `ANCHORHOOD_SESSION_HOURS` or after 14 times as long, and with
    its key."""
    keyring: Keyring = request.app.state.keyring
    if not await keyring.required():
        return JSONResponse(SessionBody(required=False, scope=Scope.ADMIN).model_dump())
    held = await keyring.of_key(body.key)
    if held is None:
        return problem(401, "unauthorized", "this key is wrong, was revoked or has expired")
    request.scope[HELD] = held
    response = JSONResponse(SessionBody(required=True, scope=held.scope).model_dump())
    response.set_cookie(cookie_name(dict(request.scope["headers"])), await keyring.start_session(held), **_attributes(request))
    return response


@router.get("/session")
@open_to_all
async def get_session(request: Request) -> SessionBody:
    """Whether a key is needed here, and what the session's key may do."""
    keyring: Keyring = request.app.state.keyring
    if not await keyring.required():
        return SessionBody(required=False, scope=Scope.ADMIN)
    text = session_in(dict(request.scope["headers"]))
    held = await keyring.of_session(text) if text else None
    return SessionBody(required=True, scope=held.scope if held else None)


@router.delete("/session", status_code=204)
@open_to_all
async def close_session(request: Request) -> Response:
    """End the session, and forget its cookie."""
    keyring: Keyring = request.app.state.keyring
    headers = dict(request.scope["headers"])
    if text := session_in(headers):
        if held := await keyring.of_session(text):
            request.scope[HELD] = held
        await keyring.end_session(text)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(headers), **_attributes(request))
    return response


def _attributes(request: Request) -> CookieAttributes:
    https, path = request.url.scheme == "https", prefix_of(request) or "/"
    return {"path": path, "httponly": True, "samesite": "strict", "secure": https}
