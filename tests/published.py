import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import picture_zip
from tests.live import Live


@dataclass
class Published:
    """A live system with one published model."""

    live: Live
    snapshot: Path  # the data folder before any test changed it
    zip: Path
    dataset: str
    held_out: str
    job: dict[str, Any]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    root = tmp_path_factory.mktemp("live")
    live = Live(root / "data").start()
    try:
        pictures = picture_zip(root / "pictures.zip", 32)
        dataset = live.upload(pictures)
        held_out = live.upload(picture_zip(root / "held-out.zip", 8, first=500))
        job = live.finished(live.train(dataset, held_out))
        assert job["status"] == "succeeded", job
        for name in ("datasets", "models", "runs"):
            shutil.copytree(live.data_dir / name, root / "snapshot" / name)
        with (
            closing(sqlite3.connect(live.data_dir / "anchorhood.sqlite3")) as database,
            closing(sqlite3.connect(root / "snapshot" / "anchorhood.sqlite3")) as copy,
        ):
            database.backup(copy)
        yield Published(live, root / "snapshot", pictures, dataset, held_out, job)
    finally:
        live.close()
