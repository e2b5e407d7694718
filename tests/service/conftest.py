from collections.abc import Iterator
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
        yield Published(live, pictures, dataset, held_out, job)
    finally:
        live.close()
