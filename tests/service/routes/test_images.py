"""Images as clients keep them: asked for again each time, so that a deleted one is shown no more."""

import io
import random
import zipfile
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from core.settings import Settings
from core.store.db import Database
from tests.service.serving import ready_dataset, serving


@pytest.fixture
def api(db: Database, settings: Settings) -> Iterator[httpx.Client]:
    ready_dataset(db, settings)
    with serving(settings, db) as client:
        yield client


def test_a_large_file_comes_as_it_was_uploaded(db: Database, settings: Settings) -> None:
    noise = Image.frombytes("RGB", (1000, 1000), random.Random(0).randbytes(3_000_000))
    noise.save(file := io.BytesIO(), "PNG")
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as made:
        made.writestr("large.png", file.getvalue())
    dataset = ready_dataset(db, settings, archive.getvalue())
    with serving(settings, db) as api:
        image = api.get(f"/datasets/{dataset}/images").json()["data"][0]["id"]
        answer = api.get(f"/images/{image}/file")
        assert answer.content == file.getvalue()
        assert int(answer.headers["content-length"]) == len(answer.content) > 2 << 20
        assert api.head(f"/images/{image}/file").headers["content-length"] == answer.headers["content-length"]
        assert api.get(f"/images/{image}/thumbnail").headers["content-type"] == "image/webp"


@pytest.mark.parametrize("what", ["file", "thumbnail", "rendering"])
def test_a_kept_image_is_asked_for_again_and_a_deleted_one_is_gone(api: httpx.Client, what: str) -> None:
    dataset = api.get("/datasets").json()["data"][0]["id"]
    image = api.get(f"/datasets/{dataset}/images").json()["data"][0]["id"]
    first = api.get(f"/images/{image}/{what}")
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = api.get(f"/images/{image}/{what}", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "private, no-cache"
    changed = api.get(f"/images/{image}/{what}", headers={"If-None-Match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)
    assert api.delete(f"/images/{image}").status_code == 204
    assert api.get(f"/images/{image}/{what}", headers={"If-None-Match": tag}).status_code == 404
