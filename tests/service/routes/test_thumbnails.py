"""Thumbnails are kept on the disk, within bounds and no longer than their images, and wait for nobody's queries."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from core.collections import datasets
from core.errors import Busy
from core.files.thumbnails import Thumbnails
from core.settings import Settings
from core.store.db import Database
from core.untrusted.decoding import Decoders
from tests.conftest import image_bytes
from tests.service.answers import problem
from tests.service.routes.test_hostile import zipped
from tests.service.serving import ready_dataset, serving

SLOW = 4000  # pixels of a side


@pytest.fixture(scope="module")
def slow() -> bytes:
    Image.new("RGB", (SLOW, SLOW)).save(file := io.BytesIO(), "PNG", compress_level=1)
    return file.getvalue()


def kept(settings: Settings) -> list[Path]:
    return sorted(settings.layout.thumbnails.glob("*/*"))


def webp(length: int) -> bytes:
    return b"RIFF" + (length - 8).to_bytes(4, "little") + bytes(length - 8)


def test_a_thumbnail_is_decoded_once_and_goes_with_its_image(settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings, zipped({f"{seed}.png": image_bytes(seed, side=64) for seed in range(3)}))
    with serving(settings, db) as api:
        first, second, third = (row["id"] for row in api.get(f"/datasets/{dataset}/images").json()["data"])
        one = api.get(f"/images/{first}/thumbnail")
        (file,) = kept(settings)
        assert file.read_bytes() == one.content
        file.write_bytes(one.content[:-10])  # as a power cut may leave it
        assert api.get(f"/images/{first}/thumbnail").content == one.content == file.read_bytes()

        for image in (second, third):
            assert api.get(f"/images/{image}/thumbnail").status_code == 200
        for shard in settings.layout.shard_files(dataset):
            shard.rename(shard.with_suffix(".away"))
        again = api.get(f"/images/{first}/thumbnail")
        assert (again.content, again.headers["etag"]) == (one.content, one.headers["etag"])
        assert api.get(f"/images/{first}/thumbnail", params={"size": 32}).status_code == 404  # that is another one

        assert api.delete(f"/images/{first}").status_code == 204
        problem(api.get(f"/images/{first}/thumbnail"), 404, "image_not_found")
        assert {path.name.partition("-")[0] for path in kept(settings)} == {str(second), str(third)}
        assert api.post(f"/datasets/{dataset}/deletions", json={"image_ids": [second]}).status_code == 200
        assert len(kept(settings)) == 1
        datasets.remove(db, settings, dataset)
        assert not kept(settings)


def test_those_that_were_not_asked_for_longest_make_room(settings: Settings) -> None:
    thumbnails = Thumbnails(settings.layout, most_bytes=64_000)
    for number in range(40):
        thumbnails.write("ds_1", number, "tag", webp(1000))
        os.utime(next(settings.layout.thumbnails_of("ds_1").glob(f"{number}-*")), (number, number))
    for number in range(100, 200):
        assert thumbnails.read("ds_1", 0, "tag") == webp(1000)  # and so it is used now
        thumbnails.write("ds_2", number, "tag", webp(1000))
    left = sum(path.stat().st_size for path in kept(settings))
    assert 64_000 // 2 < left <= 64_000 + 64_000 // 16 + 1000
    assert thumbnails.read("ds_1", 1, "tag") is None
    assert thumbnails.read("ds_2", 199, "other tag") is None


def test_no_more_wait_than_may(settings: Settings, slow: bytes) -> None:
    with Decoders(settings, waiting=1) as decoders, ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(decoders.thumbnail, io.BytesIO(slow), 16, SLOW * SLOW) for _ in range(decoders.max_processes + 6)]
        refused = [call for call in calls if isinstance(call.exception(60), Busy)]
        assert 1 <= len(refused) <= 5
        assert len({call.result() for call in calls if call not in refused}) == 1


@pytest.mark.slow
def test_large_pictures_keep_no_thumbnail_waiting(settings: Settings, db: Database, slow: bytes) -> None:
    dataset = ready_dataset(db, settings, zipped({"slow.png": slow, "b.png": image_bytes(1)}))
    with serving(settings, db) as api, ThreadPoolExecutor(30) as pool:
        big, small = (row["id"] for row in api.get(f"/datasets/{dataset}/images").json()["data"])
        pictures = [pool.submit(api.get, f"/images/{big}/rendering", timeout=120) for _ in range(30)]
        assert api.get(f"/images/{small}/thumbnail").status_code == 200
        assert any(not picture.done() for picture in pictures)
        answers = [picture.result(120) for picture in pictures]
        assert {answer.status_code for answer in answers} == {200, 503}
        busy = next(answer for answer in answers if answer.status_code == 503)
        problem(busy, 503, "busy")
        assert int(busy.headers["retry-after"]) > 0
