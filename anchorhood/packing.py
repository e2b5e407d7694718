"""A folder as a tar, with the files that could not be taken named."""

import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anchorhood.values import sendable

_BLOCK = 512
_PIECE = 1 << 20


@dataclass(frozen=True)
class LeftOut:
    """A file or folder of an uploaded folder that was not taken, and why."""

    path: str
    reason: str


def left_out_lines(left_out: list[LeftOut] | tuple[LeftOut, ...], most: int = 100) -> list[str]:
    """Lines that count and name what was left out."""
    if not left_out:
        return []
    lines = [f"left out {len(left_out):,} of the folder:", *(f"  {file.path}: {file.reason}" for file in left_out[:most])]
    return [*lines, f"  and {len(left_out) - most:,} more"] if len(left_out) > most else lines


def pack(folder: Path, file: IO[bytes], ignored: re.Pattern[str] | None) -> list[LeftOut]:
    """Write every file below a folder to ``file`` as a tar, in the order of paths; a link to a file counts as the file.

    Args:
        folder: what to pack.
        file: open for writing, at its start.
        ignored: paths that the service passes over anyway.

    Returns:
        What was not taken: files and folders that cannot be read, links that lead nowhere or to folders, what is no file
        at all, and files that changed while they were read.

    Raises:
        ValueError: nothing could be taken.
        OSError: ``file`` cannot be written; it is named as the temporary folder.
    """
    left_out: list[LeftOut] = []
    packed = 0
    for path, file_path in _walk(folder, ignored, left_out):
        position = file.tell()
        reason = _add(path, file_path, file)
        if reason is None:
            packed += 1
        else:
            file.seek(position)
            file.truncate()
            left_out.append(LeftOut(_text(path), reason))
    left_out.sort(key=lambda left: left.path)
    if not packed:
        raise ValueError("\n".join([f"{_text(folder)}: there is no file in it that can be uploaded", *left_out_lines(left_out)]))
    file.write(b"\0" * 2 * _BLOCK)
    file.seek(0)
    return left_out


def _walk(top: Path, ignored: re.Pattern[str] | None, left_out: list[LeftOut]) -> Iterator[tuple[str, Path]]:
    """Paths below a folder with their files; what is no file by its mode is left out at once, and never opened."""
    waiting = [("", top)]
    while waiting:
        path, place = waiting.pop()
        try:
            kind = place.stat().st_mode
            if stat.S_ISDIR(kind) and not (path and place.is_symlink()):
                inside = [(f"{path}/{name}" if path else name, place / name) for name in os.listdir(place)]
                waiting += sorted((child for child in inside if not (ignored and ignored.search(child[0]))), reverse=True)
                continue
        except OSError as error:
            what = "a link that leads nowhere" if place.is_symlink() else "cannot be read"
            left_out.append(LeftOut(_text(path) or ".", f"{what}: {error.strerror}"))
            continue
        if stat.S_ISREG(kind):
            yield path, place
        else:
            link = stat.S_ISDIR(kind)
            left_out.append(
                LeftOut(_text(path), "a link to a folder, which is not followed" if link else "neither a file nor a folder")
            )


def _add(path: str, source_path: Path, file: IO[bytes]) -> str | None:
    """Append a file; or return the reason why not, and then the caller must truncate what was written of it."""
    try:
        source = open(os.open(source_path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")  # noqa: SIM115 -- closed below
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    with source:
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):  # it became a pipe meanwhile
            return "neither a file nor a folder"
        info = tarfile.TarInfo(os.fsencode(path).decode("utf-8", "surrogateescape"))
        info.size = before.st_size
        _write(file, info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        left = before.st_size
        while left:
            try:
                piece = source.read(min(left, _PIECE))
            except OSError as error:
                return f"cannot be read: {error.strerror}"
            if not piece:
                return "became shorter while it was packed"
            _write(file, piece)
            left -= len(piece)
        if os.fstat(source.fileno()).st_size != before.st_size:
            return "became longer while it was packed"
    _write(file, b"\0" * (-before.st_size % _BLOCK))
    return None


def _write(file: IO[bytes], data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:
        raise OSError(error.errno, f"cannot pack the folder: {error.strerror}", tempfile.gettempdir()) from error


def _text(path: str | Path) -> str:
    """A path to show; bytes that are no UTF-8 as the service shows them."""
    return sendable(str(path))
