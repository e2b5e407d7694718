"""Files of an untrusted archive or folder: which names and kinds of file are allowed, and how many bytes are read."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from core.errors import BadArchive
from core.ground.names import clean

IGNORED = "ignored"  # code of a file that is passed over (``formats.is_ignored``); only the number of such files is reported
NAME_LENGTH, NAME_DEPTH = 1024, 32
_FOLDERS = 10_000  # of an archive that are remembered, to find those without files
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!")
_FREE_BYTES = 64 << 20  # may be unpacked however well they were packed


@dataclass(frozen=True)
class Entry:
    """A file of an archive: its bytes, or the code and reason for which they are refused.

    ``other_path`` is used where another file has ``path`` already; it differs where the name's bytes were not UTF-8.
    """

    path: str
    data: bytes = b""
    code: str = ""
    reason: str = ""
    other_path: str = ""


@dataclass(frozen=True)
class Limits:
    """What may come out of one archive or folder.

    Attributes:
        entries: most files.
        file_bytes: largest file.
        unpacked_bytes: most bytes together, counted as they are unpacked, those of refused files too.
        ratio: most bytes unpacked for each one of the archive, beyond the first 64 MiB.
    """

    entries: int
    file_bytes: int
    unpacked_bytes: int
    ratio: int


class Budget:
    """What is left of the limits while an archive of ``packed`` bytes is read."""

    def __init__(self, limits: Limits, packed: int | None = None) -> None:
        self.limits = limits
        self._entries = self._bytes = 0
        self._most = limits.unpacked_bytes
        if packed is not None:
            self._most = min(self._most, max(_FREE_BYTES, packed * limits.ratio))

    def spend_entry(self) -> None:
        """Raises ``BadArchive`` where there are too many."""
        self._entries += 1
        if self._entries > self.limits.entries:
            raise BadArchive(f"more than {self.limits.entries:,} entries, which is the most allowed")

    def spend(self, count: int) -> None:
        """Raises ``BadArchive`` where too many bytes were unpacked."""
        self._bytes += count
        if self._bytes > self.limits.unpacked_bytes:
            raise BadArchive(f"more than {self.limits.unpacked_bytes:,} bytes unpacked, which is the most allowed")
        if self._bytes > self._most:
            raise BadArchive(f"unpacks to more than {self.limits.ratio:,} times its size, which is the most allowed")


@dataclass(frozen=True)
class Refusal:
    """Why a file is refused; ``code`` is stable."""

    code: str
    reason: str

    def entry(self, path: str) -> Entry:
        return Entry(path[:NAME_LENGTH], code=self.code, reason=self.reason)


def refuse_name(name: str) -> Refusal | None:
    """Why a path is refused; ``None`` where it is not."""
    if len(name) > NAME_LENGTH or name.count("/") > NAME_DEPTH:
        return Refusal("unsafe_path", f"a path of more than {NAME_LENGTH:,} characters or {NAME_DEPTH} folders")
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        return Refusal("unsafe_path", "an absolute path; only paths within the archive are allowed")
    if ".." in parts:
        return Refusal("unsafe_path", "a path that leaves the archive")
    return None


def refuse_kind(mode: int) -> Refusal | None:
    """Why a file of this mode (``st_mode``) is refused; ``None`` where it is not."""
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return Refusal("link", "a link; only files are allowed")
    if kind not in (0, stat.S_IFREG):
        return Refusal("special_file", "a device or another special file; only files are allowed")
    return None


def read_entry(name: str, file: IO[bytes], max_bytes: int) -> Entry:
    """Read a file of at most ``max_bytes``; larger ones and archives are refused."""
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        return Entry(name, code="too_large", reason=f"more than {max_bytes:,} bytes, which is the most allowed")
    if data.startswith(_ARCHIVE_MAGIC) or data[257:262] == b"ustar":
        return Entry(name, code="nested_archive", reason="an archive within the archive; unpack it first")
    return Entry(name, data)


class Folders:
    """The folders of an archive that have nothing in them. So that memory does not grow with the archive, only so many are
    remembered; of those that come later nothing is said."""

    def __init__(self) -> None:
        self._empty: dict[int, str] = {}  # by the hash of the path
        self._occupied: set[int] = set()

    def see(self, name: str, is_folder: bool) -> None:
        """Note an entry in whatever order folders and their files come."""
        path = name.rstrip("/")
        if is_folder and hash(path) not in self._occupied and max(len(self._empty), len(self._occupied)) < _FOLDERS:
            self._empty[hash(path)] = name
        while "/" in path:
            path = path.rpartition("/")[0].rstrip("/")
            key = hash(path)
            if key in self._occupied:  # and then those above it are
                return
            self._empty.pop(key, None)
            if len(self._occupied) < _FOLDERS:
                self._occupied.add(key)

    def refusals(self) -> Iterator[Entry]:
        """An entry for each folder that has nothing in it."""
        for name in self._empty.values():
            yield Entry(name, code="empty_folder", reason="a folder without a file in it")


def error_text(error: Exception) -> str:
    """The message of an error, without the path of a file on the server, as text that any database can hold."""
    return clean((error.strerror if isinstance(error, OSError) and error.strerror else str(error))[:200])[:200]
