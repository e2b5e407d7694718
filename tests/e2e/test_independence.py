"""Names, folders, order of upload and labels cannot matter, all the way through the service."""

import zipfile
from pathlib import Path

import pytest

from tests.conftest import picture_zip, write_zip
from tests.live import Live

pytestmark = pytest.mark.slow


def test_the_same_images_give_byte_identical_embeddings(tmp_path: Path) -> None:
    labelled = picture_zip(tmp_path / "labelled.zip", 40)
    with zipfile.ZipFile(labelled) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    shuffled = write_zip(
        tmp_path / "shuffled.zip", {f"{i % 5}/deep/{97 * i % 40}.png": data for i, data in enumerate(reversed(contents))}
    )
    live = Live(tmp_path / "data").start()
    try:
        first = live.finished(live.train(live.upload(labelled, labels="folders"), rounds=3))
        second = live.finished(live.train(live.upload(shuffled, labels="none"), rounds=3))
        stored = [(live.data_dir / "models" / f"{job['id']}-1" / "embeddings.npy").read_bytes() for job in (first, second)]
        assert first["evaluation"]["knn_accuracy"] is not None
        assert second["evaluation"]["knn_accuracy"] is None
        assert stored[0] == stored[1]
    finally:
        live.close()
