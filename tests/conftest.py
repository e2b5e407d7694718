"""Fixtures shared by all tests: real databases, real archives, real images."""

import io
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import create_engine, make_url, text

from core.settings import Settings
from core.store import migrate
from core.store.db import Database

pytest_plugins = ["tests.published"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", heartbeat_seconds=0.5, lost_after_seconds=3.0, threads=1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def db(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Database]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        database = Database(settings.database)
        migrate.upgrade(settings.database)
        yield database
        database.dispose()
        return
    url = make_url(os.environ["TEST_DATABASE_URL"])
    name = f"anchorhood_{uuid.uuid4().hex[:12]}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    migrate.upgrade(own)
    database = Database(own)
    yield database
    database.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


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
