"""Reads an uploaded archive and trusts nothing that it states: neither paths nor sizes nor the kinds of its entries."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from core.errors import BadArchive
from core.ground.names import clean, escaped, from_filesystem
from core.ground.pictures.formats import HEADER_BYTES, is_ignored, may_be_image
from core.untrusted.entries import (
    IGNORED,
    NAME_DEPTH,
    Budget,
    Entry,
    Limits,
    Refusal,
    error_text,
    read_entry,
    refuse_kind,
    refuse_name,
)
from core.untrusted.tars import tar_entries
from core.untrusted.zips import zip_entries


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
            yield from zip_entries(file, budget) if kind == "zip" else tar_entries(file, kind, budget)
        except BadArchive:
            raise
        except Exception as error:  # zipfile and tarfile raise a dozen kinds, IndexError and TypeError among them
            raise BadArchive(f"the {kind} archive is damaged: {error_text(error)}") from error


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
