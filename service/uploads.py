"""Multipart uploads, streamed to disk as they arrive and refused at the first bytes that cannot be an archive."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from core.errors import BadArchive, BadRequest, TooLarge
from core.ground import durable
from core.ground.pictures import imaging
from core.ground.pictures.formats import HEADER_BYTES, describe, may_be_image
from core.untrusted import archives
from service.bodies import FIELD_BYTES, FIELDS
from service.dispositions import file_name


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
        self._field_bytes = self._parts = 0
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
        self._parts += 1
        if self._parts > FIELDS:
            raise TooLarge(f"more than {FIELDS} parts, which is the most that a form may have")
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
            if self._field_bytes > FIELD_BYTES:
                raise TooLarge(f"{self._name}: more than {FIELD_BYTES:,} bytes of fields")
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
            description = describe(self._start)
            message = f"file: not a zip, tar or tar.gz archive{' and not an image' if self._images else ''}"
            message += f" but {description}" if description else ""
            message += f"; image formats read here: {imaging.formats_in_words()}" if self._images else ""
            raise BadArchive(message)

    def _finished(self) -> None:
        self.complete = True


@asynccontextmanager
async def received(request: Request, path: Path, max_bytes: int, *, images: bool = False) -> AsyncIterator[Upload]:
    """Read a multipart form; its part ``file`` is written to ``path`` and fsynced.

    The file is deleted again if anything is wrong with the form, or if the block fails. It is an archive, or where ``images``
    says so perhaps one image.

    Raises:
        BadRequest: not a multipart form, cut off, or without a file.
        BadArchive: the file is something else.
        TooLarge: more bytes than allowed.
    """
    upload = await _receive(request, path, max_bytes, images)
    try:
        yield upload
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _receive(request: Request, path: Path, max_bytes: int, images: bool) -> Upload:
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
