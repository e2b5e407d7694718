"""Requests that are refused before a handler sees them: addresses that no database can look up, and bodies that are too long
or never come."""

import asyncio
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import TooLarge
from core.settings import Settings
from service.access import ACCESS, SAFE_METHODS, Access, Body
from service.bodies import FIELD_BYTES, QUERY_BYTES, SMALL_BYTES, TABLE_BYTES
from service.errors import problem

_TINY_BYTES = 4 << 10
_SLACK = 1 << 20  # the other parts of a form, and the boundaries between them


class Limits:
    """Refuses NUL and what is not UTF-8 in paths and queries, and bodies longer than any handler takes."""

    def __init__(self, app: ASGIApp, settings: Settings, idle_seconds: float = 60.0) -> None:
        self._app, self._idle = app, idle_seconds
        self._bytes = {
            Body.NONE: 0,
            Body.TINY: _TINY_BYTES,
            Body.SMALL: FIELD_BYTES,
            Body.LIST: SMALL_BYTES,
            Body.IMAGE: max(settings.max_image_bytes, QUERY_BYTES) + _SLACK,
            Body.TABLE: TABLE_BYTES + _SLACK,
            Body.ARCHIVE: settings.max_upload_bytes + _SLACK,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not _is_text(scope["raw_path"]) or not _is_text(scope["query_string"]):
            refusal = problem(422, "bad_request", "the path and the query must be UTF-8 without NUL")
            await refusal(scope, receive, send)
        elif _bodiless(scope["headers"]):
            await self._app(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        access: Access | None = scope.get(ACCESS)
        kind = Body.NONE if scope["method"] in SAFE_METHODS else access.body if access else Body.SMALL
        limit, headers = self._bytes[kind], dict(scope["headers"])
        detail = f"more than {limit:,} bytes, which is the most allowed" if limit else "this takes no body"
        too_large = problem(413, TooLarge.code, detail)
        if not limit:
            too_large.headers["Connection"] = "close"
        length = headers.get(b"content-length", b"0")
        refusal = too_large if not limit or (length.isdigit() and int(length) > limit) else None
        read, complete, answered = 0, False, False

        async def counted() -> Message:
            nonlocal read, complete, refusal
            try:
                async with asyncio.timeout(None if complete else self._idle):
                    message = await receive()
            except TimeoutError as error:
                refusal = problem(408, "body_timeout", f"no byte of the body came for {self._idle:g} seconds")
                raise TooLarge from error  # whatever a handler makes of it
            read += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if read > limit:
                refusal = too_large
                raise TooLarge
            return message

        async def answer(message: Message) -> None:  # not what a handler makes of the error
            nonlocal answered
            if refusal is None:
                answered = True
                await send(message)

        if refusal is None:
            await self._app(scope, counted, answer)
        if refusal is not None and not answered:
            await refusal(scope, receive, send)


def _bodiless(headers: list[tuple[bytes, bytes]]) -> bool:
    return not any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def _is_text(quoted: bytes) -> bool:
    if b"%" not in quoted and quoted.isascii():  # a server lets no NUL through unquoted
        return True
    try:
        return "\0" not in unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False
