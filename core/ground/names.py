"""File names as people's tools write them, from zips, tars, folders and forms, as text that any database and JSON can hold.

Only the standard library is imported here: the trainer may import this module, too.
"""

import os
import re
import struct
import zipfile
import zlib
from functools import lru_cache
from types import FunctionType
from typing import Any

from core.ground import code_pages

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # APPNOTE 4.6.9, by Info-ZIP


def clean(name: str) -> str:
    """A name that any database and any JSON parser can hold, without a leading ``./``: control characters by their pictures,
    and bytes that are no UTF-8 (``surrogateescape``) as letters of the code page that they look like. Different names stay
    different."""
    text = re.sub(r"^(\./+)+", "", "/".join(map(_readable, name.split("/"))))
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: chr(0x2400 + min(ord(found[0]), 0x21)), text)


@lru_cache(maxsize=10_000)
def _readable(part: str) -> str:
    """A part of a path; a folder is read in the same way for every file in it."""
    try:
        part.encode()
        return part
    except UnicodeEncodeError:
        try:
            return code_pages.decoded([part.encode("utf-8", "surrogateescape")])[0]
        except UnicodeEncodeError:  # half characters that stand for no byte
            return part.encode("utf-8", "backslashreplace").decode()


def escaped(name: str) -> str:
    """As ``clean``, but with bytes that are no UTF-8 as ``%E9``, for where the readable name is taken."""
    return clean("".join(f"%{ord(each) - 0xDC00:02X}" if "\udc80" <= each <= "\udcff" else each for each in name))


def of_bytes(name: bytes) -> str:
    """A name by its bytes: UTF-8, or else the code page that it looks like."""
    return clean(name.decode("utf-8", "surrogateescape"))


def unclean(name: str) -> str:
    """A file's name as the system gives it, with bytes that are no UTF-8 as ``surrogateescape``, whatever the locale."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def slashed(name: str) -> str:
    """A path of a zip with ``/`` between its parts; what Windows packs may have backslashes there, against the standard."""
    return re.sub(r"^(\./+)+", "", name.replace("\\", "/"))


def _unflagged(method: Any) -> Any:
    """A method of ``zipfile`` to which the UTF-8 flag says nothing: it fails at the first name that only claims to be UTF-8, and
    at an entry whose two headers have different flags."""
    return FunctionType(method.__code__, {**vars(zipfile), "_MASK_UTF_FILENAME": 0}, None, method.__defaults__)


class ZipFile(zipfile.ZipFile):
    """For reading alone, with names for ``zip_names``: their bytes as cp437, which takes any."""

    _RealGetContents = _unflagged(zipfile.ZipFile._RealGetContents)  # type: ignore[attr-defined]
    open = _unflagged(zipfile.ZipFile.open)
    open.__kwdefaults__ = zipfile.ZipFile.open.__kwdefaults__


def zip_names(archive: ZipFile) -> list[str]:
    """The name of each entry of a zip: UTF-8 where the flag or the entry's Unicode Path field says so and it is; of all others
    UTF-8 if all of them are, or else one code page. Names of different bytes stay different."""
    infos = archive.infolist()
    raw = [info.orig_filename.encode("cp437").partition(b"\0")[0] for info in infos]
    names = [_said(info, name) for info, name in zip(infos, raw, strict=True)]
    unsaid = [number for number, name in enumerate(names) if name is None]
    taken = set(names)
    for number, name in zip(unsaid, code_pages.decoded([raw[number] for number in unsaid]), strict=True):
        names[number] = escaped(raw[number].decode("utf-8", "surrogateescape")) if name in taken else name
    return [clean(name or "") for name in names]


def _said(info: zipfile.ZipInfo, name: bytes) -> str | None:
    if info.flag_bits & _UTF8_FLAG:
        try:
            return name.decode()
        except UnicodeDecodeError:
            return None
    return _unicode_path(info.extra, zlib.crc32(info.orig_filename.encode("cp437")))


def _unicode_path(extra: bytes, checksum: int) -> str | None:
    """The name in the extra field, if it belongs to the name that it was made from and not to one given since."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + size]
        if kind == _UNICODE_PATH and len(field) > 5 and struct.unpack_from("<BI", field) == (1, checksum):
            try:
                return field[5:].decode()
            except UnicodeDecodeError:
                return None
        at += 4 + size
    return None
