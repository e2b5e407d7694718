"""Training parameters that are refused before, and with, what is uploaded for them."""

import json

import httpx
import pytest

from core.db import Database
from core.settings import Settings
from tests.service.serving import pictures, ready_dataset, serving


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        ({"epocs": 3}, "params.epocs: is not a parameter; did you mean epochs?"),
        ({"learningrate": 3}, "params.learningrate: is not a parameter; did you mean learning_rate?"),
        ({"xyz": 3}, "params.xyz: is not a parameter; there are preset, method, backbone"),
        ({"preset": "quik"}, "params.preset: Input should be 'paper', 'released' or 'quick'"),
        ({"backbone": "vgg"}, "params.backbone: Input should be 'resnet10', 'resnet18'"),
        ({"epochs": 0}, "params.epochs: Input should be greater than or equal to 1"),
        ({"init": "mdl_00"}, "params.init: there is no model mdl_00"),
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
        datasets, jobs = client.get("/datasets").json()["data"], client.get("/jobs?kind=train").json()["data"]
    assert [answer.status_code for answer in (checked, named, brought)] == [422] * 3
    assert checked.json()["detail"].startswith(detail)
    for answer in (named, brought):
        assert detail.removeprefix("params.") in answer.json()["detail"]
    assert [one["id"] for one in datasets] == [dataset]
    assert jobs == []
    assert list((settings.root / "uploads").iterdir()) == []


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
