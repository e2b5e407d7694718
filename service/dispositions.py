"""The name of an uploaded file in a part's Content-Disposition, however the client wrote it."""

import re
from collections.abc import Callable, Coroutine
from email.utils import collapse_rfc2231_value, decode_params
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from core.ground import names
from service.bodies import FIELD_BYTES, FIELDS

_PARAMETER = re.compile(r';\s*(filename\*[^=;\s]*)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)
_ENCODED = re.compile(r"([\w.:+-]+)'[\w-]*'(.*)", re.DOTALL)


def file_name(disposition: bytes) -> str | None:
    """``filename*`` (RFC 8187, or in pieces as in RFC 2231) where it can be read, else ``filename``; ``None`` without either."""
    return _extended(disposition.decode("latin-1")) or _simple_file_name(disposition)


def _simple_file_name(disposition: bytes) -> str | None:
    name = parse_options_header(disposition)[1].get(b"filename")
    return None if name is None else names.from_bytes(name)


def _extended(disposition: str) -> str | None:
    parameters = [(key.lower(), value.strip()) for key, value in _PARAMETER.findall(disposition)]
    for key, value in parameters:
        if key == "filename*" and (parts := _ENCODED.fullmatch(value.strip('"'))):
            return _decoded(unquote_to_bytes(parts[2]), parts[1])
    try:
        pieces = dict(decode_params([("", ""), *parameters])[1:])
        joined = pieces.get("filename")
        return names.clean(collapse_rfc2231_value(joined).strip('"')) if joined else None
    except (ValueError, LookupError, TypeError):
        return None


def _decoded(name: bytes, charset: str) -> str | None:
    try:
        return names.clean(name.decode(charset))
    except UnicodeDecodeError:
        return names.from_bytes(name)
    except LookupError:  # no charset that anybody knows
        return None


class _Parser(MultiPartParser):
    """Starlette's, which takes a part with ``filename*`` alone for a text."""

    def on_headers_finished(self) -> None:
        disposition = self._current_part.content_disposition or b""
        if b"filename*" in disposition.lower() and _simple_file_name(disposition) is None:
            name = (file_name(disposition) or "file").replace("\\", "\\\\").replace('"', '\\"')
            self._current_part.content_disposition = disposition + b'; filename="' + name.encode() + b'"'
        super().on_headers_finished()


class _Request(Request):
    async def _get_form(self, **_: Any) -> FormData:
        limits: dict[str, Any] = {"max_files": 1, "max_fields": FIELDS, "max_part_size": FIELD_BYTES}
        if self._form is None and self.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            try:
                self._form = await _Parser(self.headers, self.stream(), **limits).parse()
            except MultiPartException as error:
                raise HTTPException(400, error.message) from error
        return await super()._get_form(**limits)


class NamedFiles(APIRoute):
    """A route whose form may name its file by ``filename*`` alone."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def with_names(request: Request) -> Response:
            return await handler(_Request(request.scope, request.receive, request._send))

        return with_names
