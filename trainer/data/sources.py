"""Where images come from: a folder, a zip or tar archive, or a list of byte ranges in files."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.ground import names, notices
from core.ground.pictures import imaging
from core.ground.pictures.depths import Depths
from core.ground.pictures.formats import is_ignored
from trainer.config import InputError
from trainer.data.images import FileRange, ImageList, ImageRef, Location, ZipEntry, open_zip
from trainer.machine.threads import cpus

_UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_unpacked: list[IO[bytes]] = []  # temporary copies of compressed tar archives; they go with the process


class SourceError(InputError):
    """A data source that cannot be read or holds no usable image."""


@dataclass(frozen=True)
class _Unreadable:
    """What a folder names and does not give."""

    reason: str

    def read(self) -> bytes:
        raise OSError(self.reason)


def open_source(path: str | os.PathLike[str]) -> ImageList:
    """List the images of a folder (any depth), a zip or tar archive, or a ``.jsonl`` list.

    A line of a list is ``{"id", "path", "file", "offset", "length", "sha256", "width", "height"}``, perhaps with ``depths``: the
    image's bytes are ``length`` bytes of ``file`` from ``offset``; a relative name is one beside the list. In a folder or an
    archive hidden and system files are passed over, as ``core.ground.pictures.formats`` says.

    Raises:
        SourceError: nothing there, not a known kind, or no usable image in it.
    """
    source = Path(path)
    try:
        if source.is_dir():
            listed = _survey(_folder_files(source))
        elif not source.is_file():
            raise SourceError(f"{source}: no such file or folder")
        elif source.suffix == ".jsonl":
            listed = _read_list(source)
        elif zipfile.is_zipfile(source):
            listed = _survey(_zip_files(source))
        elif tarfile.is_tarfile(source):
            listed = _survey(_tar_files(source))
        else:
            raise SourceError(f"{source}: not a folder, a zip or tar archive, or a .jsonl list of images")
    except _UNREADABLE as error:
        raise SourceError(f"{source}: damaged: {error}") from error
    if not listed.images:
        reasons = "".join(f"\n  {name}: {why}" for name, why in listed.rejected[:5])
        raise SourceError(f"{source}: no usable image in it{reasons}")
    return listed


def _folder_files(root: Path) -> Iterator[tuple[str, Location | None]]:
    """Every file below a folder; ``None`` for what is passed over."""
    unread: list[tuple[str, Location]] = []

    def path_of(file: str | os.PathLike[str]) -> str:
        return names.clean(names.from_filesystem(os.path.relpath(file, root)))

    def cannot(error: OSError) -> None:
        unread.append((path_of(error.filename), _Unreadable(error.strerror or "unreadable")))

    for folder, folders, files in os.walk(root, onerror=cannot):
        for name in [name for name in folders if is_ignored(name)]:
            folders.remove(name)
            yield path_of(Path(folder, name)), None
        for name in [name for name in folders if Path(folder, name).is_symlink()]:
            yield path_of(Path(folder, name)), _Unreadable("a link to a folder, which is not followed")
        for name in files:
            file = Path(folder, name)
            if is_ignored(path := path_of(file)):
                yield path, None
            else:
                yield path, FileRange(str(file)) if file.is_file() else _Unreadable("neither a file nor a link to one")
    yield from unread


def _zip_files(path: Path) -> Iterator[tuple[str, Location | None]]:
    open_zip.cache_clear()  # another archive may have come under the same name
    written = names.zip_names(open_zip(str(path)))
    for index, name in enumerate(map(names.with_slashes, written)):
        if name and not name.endswith("/"):
            yield name, None if is_ignored(name) else ZipEntry(str(path), index)


def _tar_files(path: Path) -> Iterator[tuple[str, Location | None]]:
    plain = _plain_tar(path)
    with tarfile.open(plain, "r:", encoding="utf-8") as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                name = names.clean(member.name)
                yield name, None if is_ignored(name) else FileRange(plain, member.offset_data, member.size)


def _plain_tar(path: Path) -> str:
    """The archive itself, or an unpacked temporary copy of a compressed one, which cannot be read at random."""
    try:
        tarfile.open(path, "r:").close()
        return str(path)
    except tarfile.ReadError:
        opener: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
        with open(path, "rb") as file:
            decompress = opener.get(file.read(2))
        if decompress is None:
            raise
        plain = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 -- the images' locations point into it
        with decompress(path, "rb") as packed:
            shutil.copyfileobj(packed, plain)
        plain.flush()
        _unpacked.append(plain)
        return plain.name


def _survey(files: Iterator[tuple[str, Location | None]]) -> ImageList:
    """Read and decode every file once: content hashes, sizes, depths, and what cannot be used."""
    by_hash: dict[str, ImageRef] = {}
    rejected: list[tuple[str, str]] = []
    duplicates = 0
    noticed: Counter[str] = Counter()
    entries: list[tuple[str, Location]] = []
    for name, there in sorted(files, key=lambda entry: entry[0]):
        if there is None:
            noticed[notices.HIDDEN] += 1
        else:
            entries.append((name, there))
    with ThreadPoolExecutor(min(8, cpus())) as pool:  # Pillow decodes without the interpreter's lock
        for number, found in enumerate(pool.map(_examine, (location for _, location in entries))):
            path, location = entries[number]
            if isinstance(found, str):
                rejected.append((path, found))
            elif found.sha256 in by_hash:
                duplicates += 1
            else:
                by_hash[found.sha256] = ImageRef(number, path, found.sha256, *found.size, location, found.depths)
                noticed[notices.code_of_further(found.format)] += found.further_pages
    listed = ImageList([by_hash[digest] for digest in sorted(by_hash)], rejected, duplicates, noticed)
    return listed.seen_by(listed.depths)


@dataclass(frozen=True)
class _Examined:
    sha256: str
    size: tuple[int, int]
    format: str
    further_pages: int
    depths: Depths


def _examine(location: Location) -> _Examined | str:
    """What a file's image is, or the reason why it is no usable one."""
    try:
        data = location.read()
        found = imaging.read(data)
        depths = {found.depth.kind: found.depth.range} if found.depth and not found.depth.fixed else {}
        return _Examined(hashlib.sha256(data).hexdigest(), found.image.size, found.format, found.further_pages, depths)
    except imaging.ImageError as error:
        return str(error)
    except _UNREADABLE as error:
        return f"cannot be read: {(isinstance(error, OSError) and error.strerror) or error}"


def _read_list(path: Path) -> ImageList:
    images = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            location = FileRange(str(path.parent / entry["file"]), int(entry["offset"]), int(entry["length"]))
            size = int(entry["width"]), int(entry["height"])
            depths = {kind: (float(black), float(white)) for kind, (black, white) in entry.get("depths", {}).items()}
            images.append(ImageRef(int(entry["id"]), entry["path"], entry["sha256"], *size, location, depths))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: line {number} is not an image entry: {error!r}") from error
    by_hash = {image.sha256: image for image in images}
    return ImageList([by_hash[digest] for digest in sorted(by_hash)], duplicates=len(images) - len(by_hash))
