"""Photographs through a live server from what is already learned: searchable without training, and adapted."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_zip
from tests.live import Live

pytestmark = pytest.mark.slow
PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/clothing-small-train.zip"
KINDS, EACH = ("dress", "pants", "shoes", "t-shirt"), 12


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    system = Live(tmp_path_factory.mktemp("pretrained") / "data").start()
    yield system
    system.close()


@pytest.fixture(scope="module")
def photographs(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of some of each kind."""
    if not PHOTOGRAPHS.exists():
        pytest.skip(f"{PHOTOGRAPHS} is not here")
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = archive.namelist()
        chosen = [name for kind in KINDS for name in [name for name in names if name.startswith(f"{kind}/")][1 : EACH + 1]]
        some = write_zip(tmp_path_factory.mktemp("photographs") / "some.zip", {name: archive.read(name) for name in chosen})
    return live.upload(some)


def published(live: Live, dataset: str, params: dict[str, Any]) -> dict[str, Any]:
    """The job with these parameters alone, when its model has been published."""
    answer = live.client.post("/jobs", json={"dataset_id": dataset, "params": params})
    assert answer.status_code == 202, answer.text
    job = live.finished(answer.json()["id"], patience=400)
    assert job["status"] == "succeeded", job
    assert live.get(f"/datasets/{dataset}")["model_id"] == job["model_id"]
    return job


def nearest_of_its_kind(live: Live, dataset: str) -> float:
    """How often the image nearest to one is of its kind."""
    images = live.get(f"/datasets/{dataset}/images")["data"]
    assert len(images) == len(KINDS) * EACH
    found = [live.get(f"/neighbours?image_id={image['id']}&k=5")["neighbours"] for image in images]
    assert {len(neighbours) for neighbours in found} == {5}
    return sum(neighbours[0]["label"] == image["label"] for image, neighbours in zip(images, found, strict=True)) / len(images)


def test_photographs_are_searchable_without_training(live: Live, photographs: str) -> None:
    job = published(live, photographs, {"method": "frozen", "init": "imagenet"})
    config = live.get(f"/models/{job['model_id']}")["manifest"]["config"]
    assert (config["method"], config["backbone"], config["rounds"], config["epochs_first"]) == (
        "frozen",
        "efficientnet_lite0",
        1,
        0,
    )
    assert nearest_of_its_kind(live, photographs) > 0.6  # of four kinds, by chance 0.25
    assert job["continuation"] is None
    more = live.client.post(f"/jobs/{job['id']}/continue", json={"add_rounds": 1})
    assert (more.status_code, more.json()["code"]) == (409, "cannot_continue")
    assert "trains nothing" in more.json()["detail"]


def test_what_is_learned_is_adapted(live: Live, photographs: str) -> None:
    params = {"init": "imagenet", "preset": "quick", "image_size": 64, "rounds": 2, "epochs": 1, "dim": 32, "device": "cpu"}
    job = published(live, photographs, params)
    config = live.get(f"/models/{job['model_id']}")["manifest"]["config"]
    assert (config["method"], config["backbone"], config["epochs_first"]) == ("and", "efficientnet_lite0", 0)
    assert nearest_of_its_kind(live, photographs) > 0.4
    other = live.client.post("/jobs/check", json={"params": {"init": job["model_id"], "backbone": "resnet18"}})
    assert "resnet18 cannot start from" in other.json()["detail"]
