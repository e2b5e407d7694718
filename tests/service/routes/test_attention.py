"""Attention maps over HTTP: asked for, computed by a job, shown, and gone with what they are of; on either database."""

import io
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from core.errors import StaleAttempt
from core.ground.pictures.imaging import decode, evaluation_array, heat_over
from core.jobs import protocol
from core.jobs.context import JobContext
from core.jobs.sweep import delete_orphans
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, Queue
from core.store.tables import Attention
from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import Live, wait_for
from tests.published import Published
from tests.service.answers import problem
from tests.service.serving import copy, serving
from worker.attention import compute_maps
from worker.endings import end_or_release
from worker.tasks import perform


@pytest.fixture
def api(published: Published, settings: Settings, db: Database) -> Iterator[httpx.Client]:
    copy(published, settings, db)
    with serving(settings, db) as client:
        yield client


def image_ids(api: httpx.Client, dataset: str) -> list[int]:
    return [image["id"] for image in api.get(f"/datasets/{dataset}/images").json()["data"]]


def compute(api: httpx.Client, settings: Settings, db: Database, model: str, wanted: list[int]) -> dict[str, object]:
    """Ask for maps and do the job as a worker does."""
    response = api.post(f"/models/{model}/attention", json={"image_ids": wanted})
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/jobs/{response.json()['id']}"
    owner = protocol.claim(db, Queue.TRAINING, "w")
    assert owner is not None and owner.job_id == response.json()["id"]
    perform(db, settings, owner)
    job: dict[str, object] = api.get(response.headers["Location"]).json()
    assert job["status"] == "succeeded", job
    return job


@pytest.mark.slow
def test_maps_are_computed_listed_and_shown(published: Published, settings: Settings, db: Database, api: httpx.Client) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    job = compute(api, settings, db, model, [ids[3], ids[0], ids[3]])
    assert (job["kind"], job["model_id"], job["params"]) == (
        "attention",
        model,
        {"model_id": model, "image_ids": [ids[0], ids[3]]},
    )
    assert not (settings.root / "runs" / str(job["id"])).exists()
    first = api.get(f"/models/{model}/attention?limit=1").json()
    rest = api.get(f"/models/{model}/attention?after={first['next']}").json()
    assert [row["image_id"] for row in first["data"] + rest["data"]] == [ids[0], ids[3]]
    assert rest["next"] is None
    for id_ in (ids[0], ids[3]):
        body = api.get(f"/images/{id_}/attention").json()
        towards = api.get(f"/images/{id_}").json()["provenance"]["neighbours"]
        near = api.get("/neighbours", params={"image_id": id_, "k": 1}).json()["neighbours"][0]
        assert body["neighbour_id"] == (towards[0] if towards else near["image_id"])
        assert [entry["round"] for entry in body["rounds"]] == [0, 1]
        if not towards:
            assert body["rounds"][-1]["similarity"] == pytest.approx(near["score"], abs=1e-3)
        (npz,) = (settings.root / "attention" / model).glob("*/maps.npz")
        with np.load(npz) as file:
            maps = file["maps"][file["image_ids"].tolist().index(id_)]
        pixels = evaluation_array(decode(api.get(f"/images/{id_}/file").content), 224)
        for round_ in (0, 1):
            answer = api.get(f"/images/{id_}/attention/{round_}", params={"model_id": model})
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            with Image.open(io.BytesIO(answer.content)) as shown:
                assert np.array_equal(np.asarray(shown), np.asarray(heat_over(pixels, maps[round_])))
    assert "0, 1" in problem(api.get(f"/images/{ids[0]}/attention/2"), 404, "attention_not_found")
    before = npz.stat().st_mtime_ns
    compute(api, settings, db, model, [ids[0], ids[5]])
    assert api.get(f"/images/{ids[5]}/attention").status_code == 200
    assert npz.stat().st_mtime_ns == before
    compute(api, settings, db, model, [ids[0]])  # there already
    assert len(list((settings.root / "attention" / model).iterdir())) == 2
    assert delete_orphans(db, settings) == []


@pytest.mark.slow
def test_maps_go_with_the_image_its_neighbour_and_the_model(
    published: Published, settings: Settings, db: Database, api: httpx.Client
) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    compute(api, settings, db, model, ids[:2])
    neighbour = api.get(f"/images/{ids[0]}/attention").json()["neighbour_id"]
    assert api.delete(f"/images/{neighbour}").status_code == 204
    problem(api.get(f"/images/{ids[0]}/attention"), 404, "attention_not_found")
    compute(api, settings, db, model, ids[:1])
    assert api.get(f"/images/{ids[0]}/attention").json()["neighbour_id"] != neighbour
    folder = settings.root / "attention" / model
    assert api.delete(f"/images/{ids[0]}").status_code == 204
    problem(api.get(f"/images/{ids[0]}/attention/0"), 404, "image_not_found")
    there, used = {path.name for path in folder.iterdir()}, {row.directory for row in _rows(db)}
    assert len(there) == 2
    assert {path.name for path in delete_orphans(db, settings)} == there - used != set()
    assert {path.name for path in folder.iterdir()} == used
    assert api.delete(f"/datasets/{published.dataset}").status_code == 204
    assert not folder.exists()
    assert _rows(db) == []


def _rows(db: Database) -> list[Attention]:
    with db.read() as session:
        return list(session.scalars(select(Attention)))


@pytest.mark.slow
def test_an_attempt_that_was_lost_or_cancelled_publishes_nothing(
    published: Published, settings: Settings, db: Database, api: httpx.Client
) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    asked = api.post(f"/models/{model}/attention", json={"image_ids": ids[:1]}).json()
    owner = protocol.claim(db, Queue.TRAINING, "w")
    assert owner is not None
    protocol.abandon(db, owner, "as if its worker were silent")
    with pytest.raises(StaleAttempt):
        compute_maps(JobContext(db, settings, owner))
    assert list((settings.root / "attention").glob("*/*")) == []
    again = protocol.claim(db, Queue.TRAINING, "w")
    assert again is not None and again.attempt == 2
    assert api.post(f"/jobs/{asked['id']}/cancel").status_code == 202
    perform(db, settings, again)
    assert api.get(f"/jobs/{asked['id']}").json()["status"] == "cancelled"
    assert list((settings.root / "attention").glob("*/*")) == []
    assert _rows(db) == []


def test_what_cannot_be_asked_is_refused(published: Published, settings: Settings, db: Database, api: httpx.Client) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    (elsewhere, *_) = image_ids(api, published.held_out)
    path = f"/models/{model}/attention"
    for wanted in ([], [-1], list(range(257)), ["x"], None):
        problem(api.post(path, json={"image_ids": wanted}), 422, "bad_request")
    assert "more" in problem(api.post(path, json={"image_ids": ids[:1], "more": 1}), 422, "bad_request")
    assert str(elsewhere) in problem(api.post(path, json={"image_ids": [ids[0], elsewhere]}), 422, "bad_query")
    problem(api.post("/models/mdl_none/attention", json={"image_ids": ids[:1]}), 404, "model_not_found")
    problem(api.get("/models/mdl_none/attention"), 404, "model_not_found")
    assert path in problem(api.get(f"/images/{ids[0]}/attention"), 404, "attention_not_found")
    problem(api.get(f"/images/{ids[0]}/attention/0"), 404, "attention_not_found")
    problem(api.get("/images/999999/attention"), 404, "image_not_found")
    problem(api.get(f"/images/{ids[0]}/attention?model_id=mdl_none"), 404, "model_not_found")
    problem(api.get(f"/images/{elsewhere}/attention?model_id={model}"), 422, "bad_query")
    problem(api.get(f"/images/{elsewhere}/attention"), 409, "no_model")
    assert api.get(path).json() == {"data": [], "next": None}
    shutil.rmtree(settings.root / "runs" / published.job["id"])
    assert model in problem(api.post(path, json={"image_ids": ids[:1]}), 409, "no_checkpoints")


def test_the_same_key_makes_one_job_that_keeps_its_model(published: Published, db: Database, api: httpx.Client) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    path, key = f"/models/{model}/attention", {"Idempotency-Key": "once"}
    first, again = (api.post(path, json={"image_ids": ids[:1]}, headers=key) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    problem(api.post(path, json={"image_ids": ids[:2]}, headers=key), 409, "idempotency_key_reused")
    assert first.json()["id"] in problem(api.delete(f"/datasets/{published.dataset}"), 409, "dataset_in_use")


def test_compaction_waits_for_a_job_that_reads_shards(
    published: Published, db: Database, settings: Settings, api: httpx.Client
) -> None:
    ids = image_ids(api, published.dataset)
    asked = api.post(f"/models/{published.job['model_id']}/attention", json={"image_ids": ids[:1]}).json()
    assert api.post(f"/datasets/{published.dataset}/compactions").status_code == 202
    owner = protocol.claim(db, Queue.TRAINING, "w")
    assert owner is not None and owner.kind is JobKind.ATTENTION
    assert protocol.claim(db, Queue.TASKS, "w") is None
    assert api.post(f"/jobs/{asked['id']}/cancel").status_code == 202
    end_or_release(JobContext(db, settings, owner))
    compaction = protocol.claim(db, Queue.TASKS, "w")
    assert compaction is not None and compaction.kind is JobKind.COMPACT


@pytest.mark.slow
def test_damaged_maps_are_called_so(published: Published, settings: Settings, db: Database, api: httpx.Client) -> None:
    model, ids = published.job["model_id"], image_ids(api, published.dataset)
    compute(api, settings, db, model, ids[:1])
    (file,) = (settings.root / "attention" / model).glob("*/maps.npz")
    file.write_bytes(file.read_bytes()[:-40])
    problem(api.get(f"/images/{ids[0]}/attention/0"), 500, "model_damaged")
    file.unlink()
    problem(api.get(f"/images/{ids[0]}/attention"), 404, "attention_not_found")


@pytest.mark.slow
def test_a_killed_child_a_killed_worker_an_image_added_later_and_a_deleted_model(tmp_path: Path) -> None:
    live = Live(tmp_path / "data").start()
    try:
        dataset = live.upload(picture_zip(tmp_path / "pictures.zip", 24))
        model = live.finished(live.train(dataset))["model_id"]
        with open(write_zip(tmp_path / "later.zip", {"later.png": image_bytes(900)}), "rb") as file:
            added = live.client.post(f"/datasets/{dataset}/images", files={"file": ("later.zip", file)}).json()["id"]
        assert (done := live.finished(added))["status"] == "succeeded", done["error"]
        wait_for(lambda: all(job["status"] == "succeeded" for job in live.get("/jobs?kind=embed")["data"]), "embedding", 30)
        (newest,) = live.get(f"/datasets/{dataset}/images?order=newest&limit=1")["data"]
        for words in ("-m trainer attention", "-m worker --queue training"):
            wanted = newest["id"] if "trainer" in words else newest["id"] - 1
            job = live.client.post(f"/models/{model}/attention", json={"image_ids": [wanted]}).json()["id"]
            wait_for(lambda: any("-m trainer attention" in command for command in live.processes().values()), "the child", 30)
            os.kill(next(pid for pid, command in live.processes().items() if words in command), signal.SIGKILL)
            done = live.finished(job, 90)
            assert (done["status"], done["attempt"]) == ("succeeded", 2)
            assert [event["type"] for event in live.events(job)].count("succeeded") == 1
            assert live.client.get(f"/images/{wanted}/attention/1").status_code == 200
        near = live.get(f"/neighbours?image_id={newest['id']}&k=1")["neighbours"][0]["image_id"]
        assert live.get(f"/images/{newest['id']}/attention")["neighbour_id"] == near
        folder = live.data_dir / "attention" / model
        assert len(list(folder.iterdir())) == 2
        assert live.finished(live.train(dataset, rounds=1))["status"] == "succeeded"
        assert live.client.delete(f"/models/{model}").status_code == 204
        assert not folder.exists()
        problem(live.client.get(f"/images/{newest['id']}/attention"), 404, "attention_not_found")
    finally:
        live.close()
