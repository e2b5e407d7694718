"""A collection of 12-bit pictures in 16-bit files, from the upload to a model that goes on training: one scale for all of it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.ground.pictures import imaging
from core.search.encoder import Encoder
from tests.conftest import write_zip
from tests.core.pictures import png, tiff
from tests.live import Live
from trainer.data.sources import open_source

pytestmark = pytest.mark.slow
SCALE = {"integer": [0, 4095]}


def deep(seed: int, white: int = 4095) -> np.ndarray:
    """A picture of smooth greys from 0 to ``white``, (24, 24)."""
    grid = Image.fromarray(np.random.default_rng(seed).random((5, 5), np.float32)).resize((24, 24), Image.Resampling.BICUBIC)
    greys = np.asarray(grid, np.float64)
    return np.rint((greys - greys.min()) / np.ptp(greys) * white).astype(np.uint16)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("deep") / "data").start()
    try:
        yield live
    finally:
        live.close()


def depths(listed: Path) -> list[object]:
    return [json.loads(line)["depths"] for line in listed.read_text().splitlines()]


def test_a_model_keeps_the_scale_that_it_was_trained_with(live: Live, tmp_path: Path) -> None:
    kinds = (png, tiff)
    files = {f"class-{number % 2}/{number}": kinds[number % 2](deep(number)) for number in range(24)}
    dataset = live.upload(write_zip(tmp_path / "deep.zip", files))
    dark = {f"class-{number % 2}/{number}": png(deep(100 + number, 250)) for number in range(8)}  # whose own white is 255
    held_out = live.upload(write_zip(tmp_path / "dark.zip", dark))
    job = live.finished(live.train(dataset, held_out, rounds=1))
    assert job["status"] == "succeeded", job

    (run,) = (live.data_dir / "runs" / job["id"]).glob("*/images.jsonl")
    assert depths(run) == [SCALE] * 24
    assert depths(run.parent / "held-out.jsonl") == [SCALE] * 8
    for image in open_source(run).images:
        assert len(np.unique(np.asarray(image.decode()))) > 16
    assert max(np.asarray(image.decode()).max() for image in open_source(run.parent / "held-out.jsonl").images) <= 16
    (model,) = (live.data_dir / "models").glob(f"{job['id']}-*")
    assert json.loads((model / "manifest.json").read_text())["preprocessing"]["depths"] == SCALE

    ids = {image["path"]: image["id"] for image in live.get(f"/datasets/{dataset}/images?limit=100")["data"]}

    def nearest_to(path: str) -> tuple[int, float]:
        answer = live.client.post("/neighbours", data={"k": "1", "dataset_id": dataset}, files={"file": (path, files[path])})
        assert answer.status_code == 200, answer.text
        first = answer.json()["neighbours"][0]
        return first["image_id"], first["score"]

    for path in files:
        image_id, score = nearest_to(path)
        assert (image_id, score) == (ids[path], pytest.approx(1, abs=1e-3))

    bright = png(deep(300, 65535))
    response = live.client.post(f"/datasets/{dataset}/images", files={"file": ("bright.png", bright)})
    assert live.finished(response.json()["id"])["status"] == "succeeded"
    for embedding in live.get(f"/jobs?kind=embed&dataset_id={dataset}")["data"]:
        assert live.finished(embedding["id"])["status"] == "succeeded"
    with np.load(io.BytesIO(live.client.get(f"/models/{job['model_id']}/embeddings").content)) as exported:
        vectors = dict(zip(exported["ids"].tolist(), exported["embeddings"], strict=True))
    (added,) = vectors.keys() - ids.values()
    encoder = Encoder(model / "encoder.onnx", 1)
    by_model, by_dataset = encoder(imaging.decode(bright, depths={"integer": (0, white)}) for white in (4095, 65535))
    assert np.abs(vectors[added] - by_model).max() < 1e-3 < np.abs(by_dataset - by_model).max()
    assert nearest_to("class-0/0")[1] == pytest.approx(1, abs=1e-3)

    longer = live.client.post(f"/jobs/{job['id']}/continue", json={"add_rounds": 1})
    assert longer.status_code == 202, longer.text
    again = live.finished(longer.json()["id"])
    assert again["status"] == "succeeded", again
    lists = list((live.data_dir / "runs" / again["id"]).glob("*/images.jsonl"))
    assert lists and all(depths(one) == [SCALE] * 24 for one in lists)
    (newer,) = (live.data_dir / "models").glob(f"{again['id']}-*")
    assert json.loads((newer / "manifest.json").read_text())["preprocessing"]["depths"] == SCALE
