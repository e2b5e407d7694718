"""Reads an uploaded archive and trusts nothing that it states: neither paths nor sizes nor the kinds of its entries."""

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from core.errors import BadArchive
from core.ground.names import ZipFile, clean, escaped, from_filesystem, with_slashes, zip_names
from core.ground.pictures.formats import HEADER_BYTES, is_ignored, may_be_image
from core.untrusted.entries import (
    IGNORED,
    NAME_DEPTH,
    Budget,
    Entry,
    Limits,
    Refusal,
    parents,
    read_entry,
    refuse_kind,
    refuse_name,
)
from core.untrusted.tars import tar_entries

_DIRECTORY_BYTES = 1 << 30  # most of a zip's list of entries, which is held in memory
_DIRECTORY_ENTRY = 46  # bytes, and then as many as three lengths at byte 28 say


def kind_of(header: bytes) -> str | None:
    """``zip``, ``tar`` or ``tar.gz`` by a file's first bytes, ``None`` for anything else."""
    if header.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if header.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if header[257:262] == b"ustar":
        return "tar"
    return None


def entries(path: Path, limits: Limits, name: str = "") -> Iterator[Entry]:
    """Every file of an archive in its order, read into memory one at a time; nothing is ever written.

    Args:
        path: a zip, tar or tar.gz, or one image where ``name`` is given.
        limits: counted while unpacking, whatever the archive says of itself.
        name: path of a file that is an image and no archive.

    Raises:
        BadArchive: not an archive, damaged as a whole, or beyond the limits.
    """
    budget = Budget(limits, path.stat().st_size)
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        file.seek(0)
        kind = kind_of(header)
        if kind is None and name and may_be_image(header):
            yield _image_entry(clean(name), file, limits.file_bytes)
            return
        if kind is None:
            raise BadArchive("not a zip, tar or tar.gz archive")
        try:
            yield from _zip(file, budget) if kind == "zip" else tar_entries(file, kind, budget)
        except BadArchive:
            raise
        except Exception as error:  # zipfile and tarfile raise a dozen kinds, IndexError and TypeError among them
            raise BadArchive(f"the {kind} archive is damaged: {_error_text(error)}") from error


def folder_entries(folder: Path, root: Path, limits: Limits) -> Iterator[Entry]:
    """Every file below a folder of this machine in the order of names; links are refused, never followed.

    Args:
        folder: absolute, in ``root``, without a link between the two.

    Raises:
        BadArchive: the folder cannot be read, leads elsewhere by now, or exceeds the limits.
    """
    budget = Budget(limits)

    def refuse(error: OSError) -> None:
        raise BadArchive(f"cannot read the folder: {error.strerror}") from error

    top = _descend(folder, root)  # by descriptors from the root on: no link gets in between
    try:
        for parent, folders, names, descriptor in os.fwalk(".", onerror=refuse, dir_fd=top):
            below = Path(parent)
            for name in [name for name in folders if is_ignored(name)]:
                folders.remove(name)  # a repository's folder may hold more files than all others
                yield Entry(clean(from_filesystem(str(below / name))) + "/", code=IGNORED)
            folders.sort()
            links = [name for name in folders if _is_link(name, descriptor)]
            for name in sorted([*names, *links]):
                budget.spend_entry()
                raw = from_filesystem(str(below / name))
                path, other = clean(raw), escaped(raw)
                entry = Entry(path, code=IGNORED) if is_ignored(path) else _folder_entry(path, name, descriptor, budget)
                yield replace(entry, other_path=other) if other != path else entry
            if len(below.parts) >= NAME_DEPTH and folders:
                yield Refusal("unsafe_path", f"folders in more than {NAME_DEPTH} folders").entry(
                    clean(from_filesystem(str(below / folders[0])))
                )
                folders.clear()
    finally:
        os.close(top)


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _descend(folder: Path, root: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY
    descriptor = -1
    try:
        descriptor = os.open(root, flags)
        for part in folder.relative_to(root).parts:
            above, descriptor = descriptor, os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(above)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise BadArchive(f"cannot read the folder: {error.strerror}") from error
    return descriptor


def _folder_entry(path: str, name: str, folder: int, budget: Budget) -> Entry:
    try:
        refusal = refuse_name(path) or refuse_kind(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        if refusal:
            return refusal.entry(path)
        # Not blocking, since it may have become a pipe meanwhile.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
            refusal = refuse_kind(os.fstat(file.fileno()).st_mode)
            entry = refusal.entry(path) if refusal else read_entry(path, file, budget.limits.file_bytes)
            read_bytes = file.tell() if file.seekable() else 0
    except OSError as error:
        return Entry(path, code="unreadable", reason=f"cannot be read: {error.strerror}")
    budget.spend(read_bytes)
    return entry


def _image_entry(name: str, file: IO[bytes], max_bytes: int) -> Entry:
    refusal = refuse_name(name) or (
        Refusal("hidden", "a hidden or system file, as are passed over") if is_ignored(name) else None
    )
    return refusal.entry(name) if refusal else read_entry(name, file, max_bytes)


def _zip(file: IO[bytes], budget: Budget) -> Iterator[Entry]:
    _count_entries(file, budget)
    with ZipFile(file) as archive:
        infos = archive.infolist()
        stored_names = zip_names(archive)
        names = list(map(with_slashes, stored_names))
        occupied = {folder for name in names if not refuse_name(name) for folder in parents(name)}
        for info, name, stored_name in zip(infos, names, stored_names, strict=True):
            if not name:
                continue
            if refusal := refuse_name(name):
                yield refusal.entry(stored_name)
            elif name.endswith("/"):
                if name.rstrip("/") not in occupied and not is_ignored(name):
                    yield Entry(name, code="empty_folder", reason="a folder without a file in it")
            elif is_ignored(name):
                yield Entry(name, code=IGNORED)
            elif refusal := refuse_kind(info.external_attr >> 16) or _refuse_packing(info):
                yield refusal.entry(name)
            else:
                yield _unzip(archive, info, name, budget)


def _count_entries(file: IO[bytes], budget: Budget) -> None:
    """Count the entries before Python makes an object of each; the number that the archive states is not trusted."""
    end_record = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end_record is None:
        return
    signature, size, location = end_record[0], end_record[5], end_record[9]
    if size > _DIRECTORY_BYTES:
        raise BadArchive(f"a list of entries of {size:,} bytes; at most {_DIRECTORY_BYTES:,} are allowed")
    end = location - (76 if signature == b"PK\x06\x06" else 0)  # two records of Zip64
    position = end - size
    while 0 <= position < end:
        file.seek(position)
        header = file.read(_DIRECTORY_ENTRY)
        if len(header) < _DIRECTORY_ENTRY:
            break
        position += _DIRECTORY_ENTRY + sum(struct.unpack_from("<3H", header, 28))
        budget.spend_entry()


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, budget: Budget) -> Entry:
    unpacked = 0
    try:
        with archive.open(info) as file:
            entry = read_entry(name, file, budget.limits.file_bytes)
            unpacked = file.tell()
    except Exception as error:  # one damaged entry is no reason to lose the others
        entry, unpacked = Entry(name, code="damaged", reason=f"cannot be unpacked: {_error_text(error)}"), info.file_size
    budget.spend(unpacked)
    return entry


def _error_text(error: Exception) -> str:
    """The message of an error, without the path of a file on the server, as text that any database can hold."""
    return clean(error.strerror if isinstance(error, OSError) and error.strerror else str(error))[:200]


def _refuse_packing(info: zipfile.ZipInfo) -> Refusal | None:
    if info.flag_bits & 0x1:
        return Refusal("encrypted", "encrypted; upload it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python unpacks the other methods without a bound on memory.
        return Refusal("unsupported_compression", "packed by another method than deflate")
    return None
