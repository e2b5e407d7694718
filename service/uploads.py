"""Multipart uploads, streamed to disk as they arrive and refused at the first bytes that cannot be an archive."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from core.errors import BadArchive, BadRequest, TooLarge
from core.ground import durable, imaging
from core.ground.formats import HEADER_BYTES, describe, may_be_image
from core.untrusted import archives
from service.dispositions import file_name

ARCHIVE = {"type": "string", "format": "binary", "description": "zip, tar or tar.gz of images"}  # in OpenAPI
_FIELD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 << 20  # of any body that is read whole
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
M = TypeVar("M", bound=BaseModel)


def media_type(request: Request) -> str:
    """The body's type as the client names it, without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int) -> bytes:
    """A whole body that has to fit in memory.

    Raises:
        TooLarge: it is longer than ``max_bytes``.
    """
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > max_bytes:
            raise TooLarge(f"more than {max_bytes:,} bytes, which is the most allowed")
    return bytes(data)


def parse_json(data: bytes | str) -> object:
    """JSON whose texts every database can hold.

    Raises:
        BadRequest: it is none, is nested too deeply, or holds NUL or half of a character (a lone surrogate).
    """
    try:
        value: object = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from error
    if _NUL.search(data if isinstance(data, bytes) else data.encode()):
        raise BadRequest("not allowed in JSON: NUL")
    return value


async def json_value(request: Request, max_bytes: int) -> object:
    """A JSON body.

    Raises:
        BadRequest: it is none, as ``parse_json`` says.
        TooLarge: it is longer than ``max_bytes``.
    """
    return parse_json(await read_body(request, max_bytes))


def validated(kind: type[M], given: object, where: str | None = "body") -> M:
    """What a request holds as a model; what is wrong is reported as FastAPI does, and of an unknown name the nearest one."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = [{**item, "loc": (*([where] if where else []), *item["loc"])} for item in error.errors()]
        for item, known in zip(found, error.errors(), strict=True):
            if known["type"] == "extra_forbidden":
                item["msg"] = _unknown(kind, known["loc"])
            elif known["type"] == "value_error":  # in our own words, without pydantic's before them
                item["msg"] = str(known["ctx"]["error"])
        raise RequestValidationError(found) from error


def _unknown(kind: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """What to say of a name that a model, or one of those in it, does not have."""
    *above, name = place
    for part in above:
        inner = kind.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return "is not known here"
        kind = inner
    what = "is not a parameter" if above[-1:] == ["params"] else "is not known here"
    near = get_close_matches(str(name), kind.model_fields, 1)
    return f"{what}; did you mean {near[0]}?" if near else f"{what}; there are {', '.join(kind.model_fields)}"


async def json_body(request: Request, kind: type[M], max_bytes: int = _FIELD_BYTES) -> M:
    """A small JSON body of one kind."""
    return validated(kind, await json_value(request, max_bytes))


@dataclass
class Upload:
    """What a form held: its text fields, and the size and name of its file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0


class _Receiver:
    """Callbacks of the parser: text fields into memory, the part ``file`` into a file on disk."""

    def __init__(self, path: Path, max_bytes: int, images: bool) -> None:
        self._images = images
        self.upload = Upload()
        self.complete = False
        self._file = open(path, "xb")  # noqa: SIM115 -- closed by close()
        self._max = max_bytes
        self._field_bytes = 0
        self._header, self._value, self._headers = b"", b"", dict[bytes, bytes]()
        self._name, self._is_file, self._text, self._start = "", False, b"", b""

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finished,
        }

    def close(self) -> None:
        """Put the file on the disk for good."""
        self._file.flush()
        os.fsync(self._file.fileno())
        durable.sync(Path(self._file.name).parent)
        self._file.close()

    def abandon(self) -> None:
        """Delete the file, also when the disk is full."""
        os.unlink(self._file.name)
        with suppress(OSError):
            self._file.close()

    def _begin(self) -> None:
        self._headers, self._text = {}, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file"
        if self._is_file:
            if self.upload.filename is not None:
                raise BadRequest("file: send exactly one")
            self.upload.filename = file_name(disposition) or "upload"

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = data[start:end]
        if not self._is_file:
            self._text += part
            self._field_bytes += len(part)
            if self._field_bytes > _FIELD_BYTES:
                raise TooLarge(f"{self._name}: more than {_FIELD_BYTES:,} bytes of fields")
            return
        if self.upload.size < HEADER_BYTES:
            self._start += part
            if len(self._start) >= HEADER_BYTES:
                self._require_usable()
        self.upload.size += len(part)
        if self.upload.size > self._max:
            raise TooLarge(f"file: more than {self._max:,} bytes, which is the most allowed")
        self._file.write(part)

    def _end(self) -> None:
        if self._is_file:
            self._require_usable()
        else:
            self.upload.fields[self._name] = self._text.decode("utf-8", "replace")

    def _require_usable(self) -> None:
        if archives.kind_of(self._start) is None and not (self._images and may_be_image(self._start)):
            known = describe(self._start)
            told = f"file: not a zip, tar or tar.gz archive{' and not an image' if self._images else ''}"
            told += f" but {known}" if known else ""
            told += f"; image formats read here: {imaging.formats_in_words()}" if self._images else ""
            raise BadArchive(told)

    def _finished(self) -> None:
        self.complete = True


async def receive(request: Request, path: Path, max_bytes: int, *, images: bool = False) -> Upload:
    """Read a multipart form; its part ``file`` is written to ``path`` and fsynced.

    The file is deleted again if anything is wrong with the form. It is an archive, or where ``images`` says so perhaps one
    image.

    Raises:
        BadRequest: not a multipart form, cut off, or without a file.
        BadArchive: the file is something else.
        TooLarge: more bytes than allowed.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadRequest("send multipart/form-data with a part named file")
    receiver = _Receiver(path, max_bytes, images)
    try:
        parser = MultipartParser(options[b"boundary"], receiver.callbacks())  # type: ignore[arg-type]
        try:
            async for chunk in request.stream():
                parser.write(chunk)
        except FormParserError as error:
            raise BadRequest(f"the multipart form is malformed: {error}") from error
        if not receiver.complete:
            raise BadRequest("the upload was cut off")
        if receiver.upload.filename is None:
            raise BadRequest("file: is missing")
        await run_in_threadpool(receiver.close)
    except BaseException:
        receiver.abandon()
        raise
    return receiver.upload
