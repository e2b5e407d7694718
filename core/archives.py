"""Looking into an uploaded archive without trusting a word of it: not its paths, its sizes or its kinds of entry."""

import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import BadArchive

HEADER_BYTES = 512  # enough of a file's start for ``kind_of``
_IMAGE_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P1",
    b"P2",
    b"P3",
    b"P4",
    b"P5",
    b"P6",
)
_JUNK = re.compile(r"(^|/)(__MACOSX/.*|\.DS_Store|Thumbs\.db|desktop\.ini)$")
_NAME_LENGTH, _NAME_DEPTH = 1024, 32
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONG_HEADER_BYTES = 1 << 20
_ARCHIVE_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!")


@dataclass(frozen=True)
class Entry:
    """A file of an archive: its bytes, or the code and reason for which they are refused."""

    path: str
    data: bytes = b""
    code: str = ""
    reason: str = ""


def kind_of(header: bytes) -> str | None:
    """``zip``, ``tar`` or ``tar.gz`` by a file's first bytes, ``None`` for anything else."""
    if header.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if header.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if header[257:262] == b"ustar":
        return "tar"
    return None


def may_be_image(header: bytes) -> bool:
    """Whether a file may be an image by its first bytes; decoding tells."""
    return header.startswith(_IMAGE_MAGIC)


def entries(path: Path, *, max_entries: int, max_bytes: int, name: str = "") -> Iterator[Entry]:
    """Every file of an archive in its order, read into memory one at a time; nothing is ever written.

    Args:
        path: a zip, tar or tar.gz, or one image where ``name`` is given.
        max_entries: most entries of an archive.
        max_bytes: largest file, counted while unpacking.
        name: path of a file that is an image and no archive.

    Raises:
        BadArchive: not an archive, damaged as a whole, or too many entries.
    """
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        kind = kind_of(header)
        if kind is None and name and may_be_image(header):
            file.seek(0)
            yield _one(_clean(name), file, max_bytes)
            return
    if kind is None:
        raise BadArchive("not a zip, tar or tar.gz archive")
    try:
        yield from (_zip if kind == "zip" else _tar)(path, max_entries, max_bytes)
    except BadArchive:
        raise
    except Exception as error:  # zipfile and tarfile raise a dozen kinds, IndexError and TypeError among them
        raise BadArchive(f"the {kind} archive is damaged: {error}") from error


def folder_entries(folder: Path, *, max_entries: int, max_bytes: int) -> Iterator[Entry]:
    """Every file below a folder of this machine in the order of names; links are refused, never followed.

    Raises:
        BadArchive: the folder cannot be read, or holds too many files.
    """
    number = 0

    def refuse(error: OSError) -> None:
        raise BadArchive(f"cannot read the folder: {error.strerror}") from error

    for parent, folders, names, descriptor in os.fwalk(folder, onerror=refuse):  # by descriptors: no link gets in between
        folders.sort()
        below = Path(parent).relative_to(folder)
        for name in sorted(names):
            number += 1
            if number > max_entries:
                raise BadArchive(f"more than {max_entries:,} files, which is the most allowed")
            path = _clean(str(below / name))
            if _JUNK.search(path):
                continue
            refusal = _refuse_name(path) or _refuse_kind(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)
            if refusal:
                yield refusal.at(path)
                continue
            try:
                with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=descriptor), "rb") as file:
                    yield _read(path, file, max_bytes)
            except OSError as error:
                yield Entry(path, code="unreadable", reason=f"cannot be read: {error.strerror}")


def _one(name: str, file: IO[bytes], max_bytes: int) -> Entry:
    refusal = _refuse_name(name)
    return refusal.at(name) if refusal else _read(name, file, max_bytes)


def _zip(path: Path, max_entries: int, max_bytes: int) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > max_entries:
            raise BadArchive(f"{len(infos):,} entries; at most {max_entries:,} are allowed")
        names = [_clean(info.filename) for info in infos]
        occupied = {folder for name in names if not _refuse_name(name) for folder in _parents(name)}
        for info, name in zip(infos, names, strict=True):
            if not name or _JUNK.search(name):
                continue
            refusal = _refuse_name(name) or _refuse_kind(info.external_attr >> 16) or _refuse_packing(info)
            if info.filename.endswith("/") and not _refuse_name(name):
                if name.rstrip("/") not in occupied:
                    yield Entry(name, code="empty_folder", reason="a folder without a file in it")
            elif refusal:
                yield refusal.at(name)
            else:
                yield _unzip(archive, info, name, max_bytes)


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, max_bytes: int) -> Entry:
    try:
        with archive.open(info) as file:
            return _read(name, file, max_bytes)
    except Exception as error:  # one damaged entry is no reason to lose the others
        return Entry(name, code="damaged", reason=f"cannot be unpacked: {error}")


class _Header(tarfile.TarInfo):
    """A tar header that does not believe in names of gigabytes, and does not take damage for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _LONG_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {self.size:,} bytes")
        return super()._proc_member(tarfile_)  # type: ignore[misc, no-any-return]


def _tar(path: Path, max_entries: int, max_bytes: int) -> Iterator[Entry]:
    folders: dict[str, str] = {}
    occupied: set[str] = set()
    number = 0
    with tarfile.open(path, "r|*", tarinfo=_Header) as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # or every header stays in memory
            number += 1
            if number > max_entries:
                raise BadArchive(f"more than {max_entries:,} entries, which is the most allowed")
            name = _clean(member.name)
            if name in ("", ".") or _JUNK.search(name):
                continue
            kind = stat.S_IFREG if member.isreg() else stat.S_IFLNK if member.issym() or member.islnk() else stat.S_IFIFO
            refusal = _refuse_name(name) or (None if member.isdir() else _refuse_kind(kind))
            if refusal:
                yield refusal.at(name)
                continue
            occupied.update(_parents(name))
            if member.isdir():
                folders[name.rstrip("/")] = name
                continue
            file = archive.extractfile(member)
            if file is not None:
                yield _read(name, file, max_bytes)
    for folder, name in folders.items():
        if folder not in occupied:
            yield Entry(name, code="empty_folder", reason="a folder without a file in it")


@dataclass(frozen=True)
class _Refusal:
    code: str
    reason: str

    def at(self, path: str) -> Entry:
        return Entry(path[:_NAME_LENGTH], code=self.code, reason=self.reason)


def _refuse_packing(info: zipfile.ZipInfo) -> _Refusal | None:
    if info.flag_bits & 0x1:
        return _Refusal("encrypted", "encrypted; upload it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python unpacks the other methods without a bound on memory.
        return _Refusal("unsupported_compression", "packed by another method than deflate")
    return None


def _refuse_name(name: str) -> _Refusal | None:
    if len(name) > _NAME_LENGTH or name.count("/") > _NAME_DEPTH:
        return _Refusal("unsafe_path", f"a path of more than {_NAME_LENGTH:,} characters or {_NAME_DEPTH} folders")
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        return _Refusal("unsafe_path", "an absolute path; only paths within the archive are allowed")
    if ".." in parts:
        return _Refusal("unsafe_path", "a path that leaves the archive")
    return None


def _refuse_kind(mode: int) -> _Refusal | None:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return _Refusal("link", "a link; only files are allowed")
    if kind not in (0, stat.S_IFREG):
        return _Refusal("special_file", "a device or another special file; only files are allowed")
    return None


def _read(name: str, file: IO[bytes], max_bytes: int) -> Entry:
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        return Entry(name, code="too_large", reason=f"more than {max_bytes:,} bytes, which is the most allowed")
    if data.startswith(_ARCHIVE_MAGIC) or data[257:262] == b"ustar":
        return Entry(name, code="nested_archive", reason="an archive within the archive; unpack it first")
    return Entry(name, data)


def _clean(name: str) -> str:
    """A name that any database and any JSON parser can hold, without a leading ``./``."""
    text = re.sub(r"^(\./+)+", "", name.encode("utf-8", "replace").decode("utf-8"))
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", text)


def _parents(name: str) -> Iterator[str]:
    while "/" in name.rstrip("/"):
        name = name.rstrip("/").rpartition("/")[0]
        yield name
