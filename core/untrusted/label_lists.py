"""Lists of labels in JSON, read entry by entry, so that no list takes more memory than a few entries do."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from pydantic_core import from_json

from core.errors import BadLabels

_MAX_ENTRY = 100_000  # characters
_READ = 1 << 20  # bytes at once
_BLANK = re.compile(r"[ \t\r\n]*")


def entries(file: BinaryIO) -> Iterator[tuple[int, object]]:
    """The entries of ``[entry, ...]``, or those of ``{path: label, ...}`` as ``{"path": path, "label": label}``, counted from 1.

    Raises:
        BadLabels: it is not JSON (UTF-8) or is something else, or an entry is longer than 100,000 characters.
    """
    text = _Text(file)
    opening = text.sign()
    if opening not in ("[", "{"):
        text.value("it")
        raise BadLabels('must be a list of {"path" or "image_id", "label"} or an object {path: label}')
    closing = "]" if opening == "[" else "}"
    text.take(opening)
    number = 0
    while number or text.sign() != closing:
        number += 1
        place = f"entry {number}"
        value = text.value(place)
        if opening == "{":
            if not isinstance(value, str):
                raise BadLabels(f"not JSON: {place} has no name")
            text.take(":")
            value = {"path": value, "label": text.value(place)}
        yield number, value
        if text.sign() == closing:
            break
        text.take(",")
    text.take(closing)
    if text.sign():
        raise BadLabels("not JSON: something follows its end")


class _Text:
    """A file's text from a position on, of which more than the longest entry is in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._characters = file, codecs.getincrementaldecoder("utf-8")()
        self._ahead, self._at = "", 0
        self._decoder = json.JSONDecoder(object_pairs_hook=_object_without_repeats)

    def sign(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self._read()
            match = _BLANK.match(self._ahead, self._at)
            if match is None or match.end() == self._at:
                return self._ahead[self._at : self._at + 1]
            self._at = match.end()

    def take(self, sign: str) -> None:
        """Pass over a character that must come next."""
        if (found := self.sign()) != sign:
            raise BadLabels(f"not JSON: {sign!r} is missing {f'before {found!r}' if found else 'at the end'}")
        self._at += 1

    def value(self, place: str) -> object:
        """The value that begins here."""
        self.sign()
        more = len(self._ahead) - self._at > _MAX_ENTRY
        source = self._ahead[self._at : self._at + _MAX_ENTRY]
        try:
            value: object
            value, length = self._decoder.raw_decode(source)
            from_json(source[:length])  # refuses half characters and deep nesting
        except (ValueError, RecursionError) as error:
            if more and not source.startswith("["):  # a list is nothing that an entry may be, at any length
                raise BadLabels(f"{place}: more than {_MAX_ENTRY:,} characters, or not JSON") from error
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise BadLabels(f"not JSON: {place}: {reason}") from error
        self._at += length
        return value

    def _read(self) -> None:
        try:
            while len(self._ahead) - self._at <= _MAX_ENTRY and (more := self._file.read(_READ)):
                self._ahead, self._at = self._ahead[self._at :] + self._characters.decode(more), 0
            if len(self._ahead) - self._at <= _MAX_ENTRY:
                self._characters.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise BadLabels(f"not JSON: {error.reason}; it must be UTF-8") from error


def _object_without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; Python's reader would silently take the last of two equal names."""
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result and result[name] != value:
            raise BadLabels(f"{name[:100]}: is given twice")
        result[name] = value
    return result
