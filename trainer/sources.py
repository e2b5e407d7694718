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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image

from core import imaging
from trainer.config import InputError

_UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_unpacked: list[IO[bytes]] = []  # temporary copies of compressed tar archives; they go with the process


class SourceError(InputError):
    """A data source that cannot be read or holds no usable image."""


class Location(Protocol):
    """Where the bytes of an image are; loader processes receive it by value."""

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class FileRange:
    """``length`` bytes of a file from ``offset``; all of them for -1."""

    file: str
    offset: int = 0
    length: int = -1

    def read(self) -> bytes:
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True)
class ZipEntry:
    """Entry number ``index`` of a zip archive."""

    file: str
    index: int

    def read(self) -> bytes:
        archive = _open_zip(self.file)
        return archive.read(archive.infolist()[self.index])  # ZipFile locks its own reads


@lru_cache(maxsize=8)
def _open_zip(file: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(file)


@dataclass(frozen=True)
class ImageRef:
    """One image: an id, the path it is known by, its content's SHA-256, its size in pixels, and where its bytes are."""

    id: int
    path: str
    sha256: str
    width: int
    height: int
    location: Location

    def decode(self) -> Image.Image:
        """The image upright in RGB. Its size was accepted when it was listed, perhaps under a larger limit."""
        return imaging.decode(self.location.read(), max(imaging.MAX_PIXELS, self.width * self.height))


@dataclass(frozen=True)
class ImageList:
    """Distinct images in the order of their SHA-256, so that names and folders cannot matter.

    ``rejected`` holds (path, reason) for each file that is no usable image, ``duplicates`` counts further files with the
    content of an image in the list.
    """

    images: Sequence[ImageRef]
    rejected: Sequence[tuple[str, str]] = ()
    duplicates: int = 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the contents' hashes: equal for equal images, whatever their names."""
        return hashlib.sha256("".join(image.sha256 for image in self.images).encode()).hexdigest()

    @property
    def median_side(self) -> int:
        """Median over the images of the shorter side in pixels."""
        return int(np.median([min(image.width, image.height) for image in self.images]))


def open_source(path: str | os.PathLike[str]) -> ImageList:
    """List the images of a folder (any depth), a zip or tar archive, or a ``.jsonl`` list.

    A line of a list is ``{"id", "path", "file", "offset", "length", "sha256", "width", "height"}``: the image's bytes are
    ``length`` bytes of ``file`` from ``offset``; a relative name is one beside the list.

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


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folder_files(root: Path) -> Iterator[tuple[str, Location]]:
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                yield file.relative_to(root).as_posix(), FileRange(str(file))


def _zip_files(path: Path) -> Iterator[tuple[str, Location]]:
    _open_zip.cache_clear()  # another archive may have come under the same name
    for index, info in enumerate(_open_zip(str(path)).infolist()):
        if not info.is_dir():
            yield info.filename, ZipEntry(str(path), index)


def _tar_files(path: Path) -> Iterator[tuple[str, Location]]:
    plain = _plain_tar(path)
    with tarfile.open(plain, "r:") as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                yield member.name, FileRange(plain, member.offset_data, member.size)


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


def _survey(files: Iterator[tuple[str, Location]]) -> ImageList:
    """Read and decode every file once: content hashes, sizes, and what cannot be used."""
    by_hash: dict[str, ImageRef] = {}
    rejected: list[tuple[str, str]] = []
    duplicates = 0
    entries = sorted(files, key=lambda entry: entry[0])
    with ThreadPoolExecutor(min(8, cpus())) as pool:  # Pillow decodes without the interpreter's lock
        for number, found in enumerate(pool.map(_examine, (location for _, location in entries))):
            path, location = entries[number]
            if isinstance(found, str):
                rejected.append((path, found))
            elif found[0] in by_hash:
                duplicates += 1
            else:
                digest, width, height = found
                by_hash[digest] = ImageRef(number, path, digest, width, height, location)
    return ImageList([by_hash[digest] for digest in sorted(by_hash)], rejected, duplicates)


def _examine(location: Location) -> tuple[str, int, int] | str:
    """SHA-256, width and height, or the reason why it is no usable image."""
    try:
        data = location.read()
        return hashlib.sha256(data).hexdigest(), *imaging.decode(data).size
    except imaging.ImageError as error:
        return str(error)
    except _UNREADABLE as error:
        return f"cannot be read: {error}"


def _read_list(path: Path) -> ImageList:
    images = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            location = FileRange(str(path.parent / entry["file"]), int(entry["offset"]), int(entry["length"]))
            size = int(entry["width"]), int(entry["height"])
            images.append(ImageRef(int(entry["id"]), entry["path"], entry["sha256"], *size, location))
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}: line {number} is not an image entry: {error!r}") from error
    by_hash = {image.sha256: image for image in images}
    return ImageList([by_hash[digest] for digest in sorted(by_hash)], duplicates=len(images) - len(by_hash))
