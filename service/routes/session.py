"""A page's session: `<img>` and EventSource cannot send a header, so a page exchanges its key for a cookie."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from core.store.keys import Scope
from service.access import open_to_all
from service.context import Ctx
from service.errors import problem
from service.middleware.auth import COOKIE, Keyring
from service.middleware.prefix import prefix_of
from service.schemas.common import SessionBody, SessionRequest

router = APIRouter(tags=["session"])


@router.post("/session", response_model=SessionBody)
@open_to_all
async def open_session(body: SessionRequest, request: Request, context: Ctx) -> Response:
    """Exchange a key for a cookie that scripts cannot read and other sites' pages cannot use."""
    keyring: Keyring = request.app.state.keyring
    if not await keyring.required():
        return JSONResponse(SessionBody(required=False, scope=Scope.ADMIN).model_dump())
    scope = await keyring.scope(body.key)
    if scope is None:
        return problem(401, "unauthorized", "this key is wrong or was revoked")
    response = JSONResponse(SessionBody(required=True, scope=scope).model_dump())
    https, path = request.url.scheme == "https", prefix_of(request) or "/"
    response.set_cookie(COOKIE, body.key, path=path, httponly=True, samesite="strict", secure=https)
    return response


@router.get("/session")
@open_to_all
async def get_session(request: Request) -> SessionBody:
    """Whether a key is needed here, and what the cookie's key may do."""
    keyring: Keyring = request.app.state.keyring
    if not await keyring.required():
        return SessionBody(required=False, scope=Scope.ADMIN)
    text = request.cookies.get(COOKIE)
    return SessionBody(required=True, scope=await keyring.scope(text) if text else None)


@router.delete("/session", status_code=204)
@open_to_all
async def close_session(request: Request) -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=prefix_of(request) or "/", httponly=True, samesite="strict")
    return response
