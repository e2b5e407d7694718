"""Where images come from: a folder, a zip or tar archive, or a list of byte ranges in files; then their pixels."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core import imaging
from trainer.config import InputError

_UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_ROWS_A_TASK = 64
MEMORY_BUDGET = 4 << 30  # bytes of decoded pixels kept in memory; more go to a memory-mapped file


class SourceError(InputError):
    """A data source that cannot be read or holds no usable image."""


@dataclass(frozen=True)
class ImageRef:
    """One image: an id, the path it is known by, its content's SHA-256, its size in pixels, and how to read its bytes."""

    id: int
    path: str
    sha256: str
    width: int
    height: int
    read: Callable[[], bytes]


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
    ``length`` bytes of ``file`` from ``offset``.

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


def _folder_files(root: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                yield file.relative_to(root).as_posix(), file.read_bytes


def _zip_files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    archive = zipfile.ZipFile(path)  # stays open: the readers below use it; ZipFile locks its own reads
    for info in archive.infolist():
        if not info.is_dir():
            yield info.filename, partial(archive.read, info)


def _tar_files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    archive = _open_tar(path)
    lock = threading.Lock()

    def read(member: tarfile.TarInfo) -> bytes:
        with lock:
            file = archive.extractfile(member)
            return file.read() if file else b""

    for member in archive:
        if member.isfile():
            yield member.name, partial(read, member)


def _open_tar(path: Path) -> tarfile.TarFile:
    """Open for random access; a compressed archive is unpacked to an unnamed file first, or every seek back would
    decompress it from its start."""
    try:
        return tarfile.open(path, "r:")
    except tarfile.ReadError:
        plain = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the archive
        opener: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
        with open(path, "rb") as file:
            decompress = opener.get(file.read(2))
        if decompress is None:
            raise
        with decompress(path, "rb") as packed:
            shutil.copyfileobj(packed, plain)
        plain.seek(0)
        archive = tarfile.open(fileobj=plain, mode="r:")  # noqa: SIM115 -- the readers use it
        weakref.finalize(archive, plain.close)
        return archive


def _survey(files: Iterator[tuple[str, Callable[[], bytes]]]) -> ImageList:
    """Read and decode every file once: content hashes, sizes, and what cannot be used."""
    by_hash: dict[str, ImageRef] = {}
    rejected: list[tuple[str, str]] = []
    duplicates = 0
    for number, (path, read) in enumerate(sorted(files, key=lambda entry: entry[0])):
        try:
            data = read()
        except _UNREADABLE as error:
            rejected.append((path, f"cannot be read: {error}"))
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest in by_hash:
            duplicates += 1
            continue
        try:
            width, height = imaging.decode(data).size
        except imaging.ImageError as error:
            rejected.append((path, str(error)))
            continue
        by_hash[digest] = ImageRef(number, path, digest, width, height, read)
    return ImageList([by_hash[digest] for digest in sorted(by_hash)], rejected, duplicates)


def _read_list(path: Path) -> ImageList:
    images = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            read = _range_reader(entry["file"], int(entry["offset"]), int(entry["length"]))
            size = int(entry["width"]), int(entry["height"])
            images.append(ImageRef(int(entry["id"]), entry["path"], entry["sha256"], *size, read))
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}: line {number} is not an image entry: {error!r}") from error
    by_hash = {image.sha256: image for image in images}
    return ImageList([by_hash[digest] for digest in sorted(by_hash)], duplicates=len(images) - len(by_hash))


def _range_reader(file: str, offset: int, length: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(file, "rb") as shard:
            shard.seek(offset)
            return shard.read(length)

    return read


@dataclass(frozen=True)
class PixelStore:
    """Decoded images for training: uint8 (N, 3, P, P), each squashed to a square, and their true sizes (N, 2)."""

    pixels: Tensor
    sizes: Tensor

    @classmethod
    def load(cls, listed: ImageList, side: int, scratch: Path) -> "PixelStore":
        """Decode every image to ``side`` squared; more than ``MEMORY_BUDGET`` bytes go to a file in ``scratch``."""
        shape = (len(listed.images), 3, side, side)
        array: NDArray[np.uint8]
        if int(np.prod(shape)) > MEMORY_BUDGET:
            array = np.memmap(scratch / "pixels.u8", np.uint8, "w+", shape=shape)
            (scratch / "pixels.u8").unlink()  # the mapping stays, and goes with the process
        else:
            array = np.empty(shape, np.uint8)

        def fill(row: int) -> None:
            image = _decoded(listed.images[row])
            array[row] = imaging.squashed_array(image, side).transpose(2, 0, 1)

        _in_threads(fill, len(listed.images))
        sizes = torch.tensor([(image.width, image.height) for image in listed.images], dtype=torch.float32)
        return cls(torch.from_numpy(array), sizes)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel in 0..1, (3,) each, from exact integer sums."""
        total, squares, count = np.zeros(3, np.int64), np.zeros(3, np.int64), 0
        values = np.arange(256, dtype=np.int64)
        for block in torch.split(self.pixels, 4096):
            for channel in range(3):
                histogram = torch.bincount(block[:, channel].flatten(), minlength=256).numpy()
                total[channel] += int(histogram @ values)
                squares[channel] += int(histogram @ values**2)
            count += block[:, 0].numel()
        mean = total / count / 255
        deviation = np.sqrt(np.maximum(squares / count / 255**2 - mean**2, 1e-4))
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def _decoded(ref: ImageRef) -> Image.Image:
    """Its size was accepted when it was listed, perhaps under a larger limit."""
    return imaging.decode(ref.read(), max(imaging.MAX_PIXELS, ref.width * ref.height))


def evaluation_batches(listed: ImageList, side: int) -> Iterator[Tensor]:
    """The images as an encoder sees them, in order: uint8 (B, side, side, 3), up to 512, fewer of large ones."""
    batch = max(8, min(512, 512 * 96**2 // side**2))
    for start in range(0, len(listed.images), batch):
        images = listed.images[start : start + batch]
        array = np.empty((len(images), side, side, 3), np.uint8)

        def fill(row: int, images: Sequence[ImageRef] = images, array: NDArray[np.uint8] = array) -> None:
            array[row] = imaging.evaluation_array(_decoded(images[row]), side)

        _in_threads(fill, len(images))
        yield torch.from_numpy(array)


def _in_threads(work: Callable[[int], None], count: int) -> None:
    """Pillow decodes without the interpreter's lock."""

    def some(start: int) -> None:
        for row in range(start, min(start + _ROWS_A_TASK, count)):
            work(row)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(some, range(0, count, _ROWS_A_TASK)):
            pass
