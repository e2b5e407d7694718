"""Fixtures shared by all tests: real databases, real archives, real images."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.settings import Settings

pytest_plugins = ["tests.databases", "tests.published", "tests.scheduling"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", heartbeat_seconds=0.5, lost_after_seconds=3.0, threads=1)


def image_bytes(seed: int, side: int = 16, format: str = "PNG", mode: str = "RGB", size: tuple[int, int] | None = None) -> bytes:
    """A small picture of its own for every seed: a coloured disc on a coloured ground."""
    rng = np.random.default_rng(seed)
    width, height = size or (side, side)
    y, x = np.mgrid[0:height, 0:width]
    inside = (x - rng.uniform(0.3, 0.7) * width) ** 2 + (y - rng.uniform(0.3, 0.7) * height) ** 2 < (
        0.3 * min(width, height)
    ) ** 2
    pixels = np.where(inside[..., None], rng.integers(0, 256, 3), rng.integers(0, 256, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def picture_zip(path: Path, count: int, classes: int = 2, side: int = 16, first: int = 0) -> Path:
    """``count`` distinct pictures in folders ``class-0``, ``class-1``, ..."""
    return write_zip(path, {f"class-{i % classes}/{i:04}.png": image_bytes(first + i, side) for i in range(count)})
