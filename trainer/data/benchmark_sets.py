"""The paper's benchmark sets as zips of ``class/number.png``, from torchvision's loaders."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision import datasets

from core.ground import durable
from trainer.config import InputError

NAMES = ("cifar10", "cifar100", "svhn")


def fetch(name: str, folder: Path) -> list[Path]:
    """Write ``<name>-train.zip`` and ``<name>-test.zip`` into a folder, downloading the set unless it lies there.

    Args:
        name: one of ``NAMES``.
        folder: where torchvision keeps the set, and where the zips go.

    Raises:
        InputError: the set is not there and cannot be downloaded.
    """
    written = []
    for split in ("train", "test"):
        try:
            images = _load(name, folder, split)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{name} cannot be downloaded ({error}); put its original files into {folder}") from error
        path = folder / f"{name}-{split}.zip"
        write_zip(images, images.classes if hasattr(images, "classes") else None, path)
        written.append(path)
    return written


def _load(name: str, folder: Path, split: str) -> Any:
    if name == "svhn":
        return datasets.SVHN(folder, split, download=True)
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    return kind(folder, split == "train", download=True)


def write_zip(images: Iterable[tuple[Image.Image, int]], names: list[str] | None, path: Path) -> None:
    """Write (image, class number) pairs as lossless PNG files in a folder for each class.

    Args:
        images: the pairs.
        names: of the classes by number; without them the number is the name.
        path: the zip, replaced when it is complete.
    """
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for number, (image, label) in enumerate(images):
            file = io.BytesIO()
            image.save(file, "PNG")
            archive.writestr(f"{names[label] if names else label}/{number:06}.png", file.getvalue())
    durable.replace(temporary, path)
