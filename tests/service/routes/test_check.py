"""Training parameters that are refused before, and with, what is uploaded for them."""

import json
import re
import sys

import httpx
import pytest

from core.collections import training
from core.files import manifest
from core.ground import parameters
from core.ground.folders import ModelFile
from core.ground.parameters import WITH_IMAGENET
from core.jobs import lifecycle
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind
from core.store.tables import Model
from tests.service.serving import pictures, ready_dataset, serving
from trainer.backbones.resnet import build_encoder, load_initial_weights
from trainer.config import ConfigError, TrainConfig
from trainer.presets import PRESETS


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        ({"epocs": 3}, "params.epocs: is not a parameter; did you mean epochs?"),
        ({"learningrate": 3}, "params.learningrate: is not a parameter; did you mean learning_rate?"),
        ({"xyz": 3}, "params.xyz: is not a parameter; there are preset, method, backbone"),
        ({"preset": "quik"}, "params.preset: Input should be 'paper', 'released', 'quick', 'best', 'large' or 'fine-grained'"),
        ({"backbone": "vgg"}, "params.backbone: Input should be 'resnet10', 'resnet18'"),
        ({"method": "frosen"}, "params.method: Input should be 'and'"),
        ({"method": "simclr", "neighbours": 5}, "params: neighbours: method simclr does not have it, only and, instance"),
        ({"clusters": 5}, "params: clusters: method and does not have it, only deepcluster"),
        ({"method": "deepcluster", "clusters": 1}, "params.clusters: Input should be greater than or equal to 2"),
        ({"method": "random", "init": "imagenet"}, "params: init: random starts from random weights; leave init out"),
        ({"method": "random", "rounds": 2}, "params: method: random trains nothing, so rounds is 1"),
        ({"method": "simclr", "neighbours": 1}, "params: neighbours: method simclr does not have it"),
        ({"method": "bigan", "init": "imagenet"}, "params: init: bigan starts from random weights"),
        (
            {"method": "splitbrain", "backbone": "efficientnet_lite0"},
            "params: backbone: splitbrain makes two halves of a residual",
        ),
        ({"method": "deepcluster", "sobel": True, "init": "imagenet"}, "params: sobel: ImageNet's weights take colours"),
        (
            {"method": "simclr", "trained_blocks": 0},
            "params: trained_blocks: 0 trains the head alone, which simclr does not learn",
        ),
        ({"method": "simclr", "backbone": "resnet10", "dim": 129}, "params: dim: 129 is more than the 128 features of resnet10"),
        (
            {"method": "simclr", "init": "imagenet", "epochs_first": 0, "rounds": 1},
            "params: epochs_first: 0 in a single round trains nothing",
        ),
        ({"epochs": 0}, "params.epochs: Input should be greater than or equal to 1"),
        ({"init": "mdl_00"}, "params.init: there is no model mdl_00"),
        ({"init": "photos.pth"}, "params.init: "),
        (
            {"init": "imagenet", "backbone": "resnet10"},
            "params: init: there are no ImageNet weights for resnet10, only for resnet18",
        ),
        ({"method": "frozen"}, "params: method: frozen takes what is learned already as it is; set init"),
        ({"method": "frozen", "init": "random"}, "params: method: frozen takes what is learned already"),
        ({"method": "frozen", "init": "imagenet", "rounds": 2}, "params: method: frozen trains nothing, so rounds is 1"),
        ({"method": "frozen", "init": "imagenet", "epochs_first": 1}, "params: method: frozen trains nothing"),
        ({"epochs_first": 0}, "params: epochs_first: 0 trains nothing in the first round"),
        ({"backbone_rate": 1.5}, "params.backbone_rate: Input should be less than or equal to 1"),
        ({"neighbour_loss": "median"}, "params.neighbour_loss: Input should be 'union' or 'mean'"),
    ],
)
def test_parameters_are_refused_alike_before_and_with_an_upload(
    settings: Settings, db: Database, params: dict[str, object], detail: str
) -> None:
    dataset = ready_dataset(db, settings)
    with serving(settings, db) as client:
        checked = client.post("/jobs/check", json={"params": params})
        named = client.post("/jobs", json={"dataset_id": dataset, "params": params})
        form = {"params": json.dumps(params)}
        brought = client.post("/jobs", data=form, files={"file": ("a.zip", pictures(20), "application/zip")})
        datasets, queued = client.get("/datasets").json()["data"], client.get("/jobs?kind=train").json()["data"]
    assert [answer.status_code for answer in (checked, named, brought)] == [422] * 3
    assert checked.json()["detail"].startswith(detail)
    for answer in (named, brought):
        assert detail.removeprefix("params.") in answer.json()["detail"]
    assert [one["id"] for one in datasets] == [dataset]
    assert queued == []
    assert list((settings.root / "uploads").iterdir()) == []


def test_a_choice_that_is_misspelt_gets_the_nearest_suggested(settings: Settings, db: Database) -> None:
    with serving(settings, db) as client:
        for given, meant in (({"method": "frosen"}, "frozen"), ({"method": "SimCLR"}, "simclr"), ({"preset": "papr"}, "paper")):
            detail = client.post("/jobs/check", json={"params": given}).json()["detail"]
            assert detail.endswith(f"; did you mean {meant}?")
        assert "did you mean" not in client.post("/jobs/check", json={"params": {"method": "xyz"}}).json()["detail"]


def test_a_form_whose_parameters_are_no_json_leaves_nothing_behind(settings: Settings, db: Database) -> None:
    with serving(settings, db) as client:
        for text in ("{", "[]", "quick"):
            answer = client.post("/jobs", data={"params": text}, files={"file": ("a.zip", pictures(20))})
            assert answer.status_code == 422, answer.text
        assert client.get("/datasets").json()["data"] == []
    assert list((settings.root / "uploads").iterdir()) == []


def test_parameters_that_are_allowed(settings: Settings, db: Database) -> None:
    def check(client: httpx.Client, body: object) -> tuple[int, object]:
        answer = client.post("/jobs/check", json=body)
        return answer.status_code, answer.json()

    with serving(settings, db) as client:
        given = {"params": {"preset": "quick", "epochs": 3, "crop_scale": [0.4, 1.0]}}
        assert check(client, given) == (200, given)
        assert check(client, {}) == (200, {"params": {}})
        assert check(client, {"parms": {}})[1]["detail"] == "parms: is not known here; did you mean params?"  # type: ignore[index]
        assert client.post("/jobs/check", content=b"{").status_code == 422


def test_weights_that_are_not_installed_are_said_before_anything_is_sent(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ready_dataset(db, settings)
    monkeypatch.setitem(sys.modules, parameters.WEIGHTS_PACKAGE, None)  # as if it were not installed
    with serving(settings, db) as client:
        assert client.post("/jobs/check", json={}).json() == {"params": {}, "pretrained_missing": parameters.WEIGHTS_MISSING}
        for params in ({"init": "imagenet"}, {"method": "frozen", "init": "imagenet"}, {"init": "imagenet", "preset": "best"}):
            checked = client.post("/jobs/check", json={"params": params})
            named = client.post("/jobs", json={"dataset_id": dataset, "params": params})
            assert checked.json()["detail"] == f"params.init: {parameters.WEIGHTS_MISSING}"
            assert (named.status_code, named.json()["detail"]) == (422, f"init: {parameters.WEIGHTS_MISSING}")
        downloaded = {"params": {"init": "imagenet", "backbone": "resnet18"}}  # torchvision's own weights need no package
        assert client.post("/jobs/check", json=downloaded).json()["params"] == downloaded["params"]
        assert client.get("/jobs?kind=train").json()["data"] == []


def test_imagenets_weights_go_where_the_trainer_puts_them() -> None:
    for preset in (None, *PRESETS):
        for backbone in (None, *WITH_IMAGENET):
            params = {"preset": preset, "backbone": backbone, "init": "imagenet"}
            assert training.imagenet_backbone(params) == TrainConfig.make(params).backbone
    with pytest.raises(ConfigError, match=re.escape(", ".join(WITH_IMAGENET))):
        load_initial_weights(build_encoder(TrainConfig.make({"backbone": "resnet10", "image_size": 32})), "imagenet", "resnet10")


def test_a_model_of_another_backbone_is_refused(settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    init = model_of(settings, db, dataset, "efficientnet_lite0")
    with serving(settings, db) as client:
        other = {"init": init, "backbone": "resnet18"}
        checked = client.post("/jobs/check", json={"params": other})
        named = client.post("/jobs", json={"dataset_id": dataset, "params": other})
        brought = client.post("/jobs", data={"params": json.dumps(other)}, files={"file": ("a.zip", pictures(20))})
        for answer in (checked, named, brought):
            assert answer.status_code == 422
            assert f"backbone: resnet18 cannot start from {init}, whose backbone is efficientnet_lite0" in answer.json()["detail"]
        for params in ({"init": init, "method": "frozen"}, {"init": init, "backbone": "efficientnet_lite0", "preset": "paper"}):
            assert client.post("/jobs/check", json={"params": params}).json() == {"params": params}
            assert client.post("/jobs", json={"dataset_id": dataset, "params": params}).json()["params"] == params
        (settings.root / "models" / f"{init}-1" / ModelFile.MANIFEST).unlink()  # then only the trainer can tell
        assert client.post("/jobs/check", json={"params": other}).json() == {"params": other}


def model_of(settings: Settings, db: Database, dataset: str, backbone: str) -> str:
    """A published model, of which there is no more than its row and its manifest."""
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
        lifecycle.request_cancel(session, job)
        row = {"dataset_id": dataset, "job_id": job, "attempt": 1, "directory": "mdl_0a-1", "images": 20, "dim": 8}
        session.add(Model(id="mdl_0a", created_at=now(), **row))
    folder = settings.layout.models / "mdl_0a-1"
    folder.mkdir()
    manifest.write(folder, {"config": {"backbone": backbone}})
    return "mdl_0a"
