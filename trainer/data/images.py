"""A collection as training sees it: distinct images in a fixed order, and where the bytes of each are."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from PIL import Image

from core.ground import names
from core.ground.pictures import imaging
from core.ground.pictures.depths import Depths, common_depths


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
        archive = open_zip(self.file)
        return archive.read(archive.infolist()[self.index])  # ZipFile locks its own reads


@lru_cache(maxsize=8)
def open_zip(file: str) -> names.ZipFile:
    return names.ZipFile(file)


@dataclass(frozen=True)
class ImageRef:
    """One image: an id, the path it is known by, its content's SHA-256, its size in pixels, where its bytes are, and what black
    and white are should it be a deep one."""

    id: int
    path: str
    sha256: str
    width: int
    height: int
    location: Location
    depths: Depths = field(default_factory=dict, hash=False)

    def decode(self) -> Image.Image:
        """The image upright in RGB. Its size was accepted when it was listed, perhaps under a larger limit."""
        return imaging.decode(self.location.read(), max(imaging.MAX_PIXELS, self.width * self.height), self.depths)


@dataclass(frozen=True)
class ImageList:
    """Distinct images in the order of their SHA-256, so that names and folders cannot matter.

    ``rejected`` holds (path, reason) for each file that is no usable image, ``duplicates`` counts further files with the
    content of an image in the list, ``noticed`` what else a person should know (``core.ground.notices``).
    """

    images: Sequence[ImageRef]
    rejected: Sequence[tuple[str, str]] = ()
    duplicates: int = 0
    noticed: Mapping[str, int] = field(default_factory=dict)

    @property
    def depths(self) -> Depths:
        """What black and white are in deep images of the collection."""
        return common_depths(image.depths for image in self.images)

    def seen_by(self, depths: Depths) -> "ImageList":
        """The images as an encoder sees them that was trained on a collection of those ``depths``."""
        return replace(self, images=[replace(image, depths=depths) for image in self.images])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the contents' hashes: equal for equal images, whatever their names."""
        return hashlib.sha256("".join(image.sha256 for image in self.images).encode()).hexdigest()

    @property
    def median_side(self) -> int:
        """Median over the images of the shorter side in pixels."""
        return int(np.median([min(image.width, image.height) for image in self.images]))
