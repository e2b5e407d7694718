"""Training jobs by the API, on SQLite and PostgreSQL: what is too small is refused at once, what is over can go on, and the
verdict stands beside the figures."""

import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import httpx
import pytest
from PIL import Image as Picture
from sqlalchemy import select, update

from core.collections import datasets, deletions, published
from core.collections.intake import ingest
from core.errors import ModelInUse
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.sweep import delete_orphans
from core.settings import Settings
from core.store.columns import now
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Image, Job, Model
from tests.conftest import image_bytes
from tests.service.answers import problem
from tests.service.serving import pictures, ready_dataset
from worker.training.inputs import bring_checkpoints, write_images


@pytest.mark.parametrize(
    ("count", "params", "reason"),
    [
        (15, {}, "15 images are too few to learn from; at least 16"),
        (15, {"preset": "paper", "batch_size": 4, "rounds": 1}, "at least 16"),
        (20, {"neighbours": 20}, "neighbours: 20 is not below the number of images, 20"),
        (20, {"neighbours": 100, "preset": "quick"}, "neighbours: 100 is not below"),
        (15, {"neighbours": None}, "at least 16"),
        (20, {"method": "deepcluster", "clusters": 11}, "clusters: 11 is more than half the number of images, 20"),
    ],
)
def test_a_ready_dataset_too_small_for_training_is_refused_at_once(
    api: httpx.Client, db: Database, settings: Settings, count: int, params: dict[str, Any], reason: str
) -> None:
    dataset = ready_dataset(db, settings, pictures(count))
    answer = api.post("/jobs", json={"dataset_id": dataset, "params": params})
    problem(answer, 422, "too_few_images")
    assert reason in answer.json()["detail"]
    assert api.get("/jobs?kind=train").json()["data"] == []
    with db.read() as session:
        ids = session.scalars(select(Image.id).where(Image.dataset_id == dataset)).all()
    if count == 20:
        assert api.post("/jobs", json={"dataset_id": dataset, "params": {"neighbours": 19}}).status_code == 202
        deletions.delete_images(db, dataset, ids[:5])
        problem(api.post("/jobs", json={"dataset_id": dataset}), 422, "too_few_images")


def grey(count: int, coloured: int = 0) -> bytes:
    """A zip of so many grey pictures, some of them as RGB files, and so many coloured ones."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            picture = Picture.open(io.BytesIO(image_bytes(number, side=8, mode="L")))
            picture.convert("RGB" if number % 2 else "L").save(content := io.BytesIO(), "PNG")
            archive.writestr(f"{number}.png", content.getvalue())
        for number in range(coloured):
            archive.writestr(f"coloured-{number}.png", image_bytes(number, side=8))
    return file.getvalue()


def test_a_method_that_needs_colours_refuses_grey_pictures_at_once(api: httpx.Client, db: Database, settings: Settings) -> None:
    request = {"params": {"method": "splitbrain"}}
    without = ready_dataset(db, settings, grey(20))
    answer = api.post("/jobs", json={"dataset_id": without, **request})
    problem(answer, 422, "bad_parameters")
    assert answer.json()["detail"] == (
        f"{without}: method: splitbrain learns from colours, and 20 of 20 images are grey; choose another"
    )
    assert api.post("/jobs", json={"dataset_id": without}).status_code == 202, "other methods do without"
    few = ready_dataset(db, settings, grey(20, coloured=1))
    assert "20 of 21 images are grey" in problem(api.post("/jobs", json={"dataset_id": few, **request}), 422, "bad_parameters")
    some = ready_dataset(db, settings, grey(20, coloured=2))
    assert api.post("/jobs", json={"dataset_id": some, **request}).status_code == 202


def test_grey_pictures_that_were_deleted_do_not_count(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings, grey(20, coloured=20))
    with db.read() as session:
        ids = session.scalars(select(Image.id).where(Image.dataset_id == dataset, Image.grey.is_(True))).all()
    assert len(ids) == 20
    deletions.delete_images(db, dataset, ids)
    request = {"dataset_id": dataset, "params": {"method": "splitbrain"}}
    assert api.post("/jobs", json=request).status_code == 202


def test_the_method_that_reads_labels_needs_them(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    request = {"dataset_id": dataset, "params": {"method": "supervised"}}
    answer = api.post("/jobs", json=request)
    problem(answer, 422, "bad_parameters")
    assert answer.json()["detail"].startswith(
        f"method: supervised learns from labels of two classes or more, and {dataset} has none; upload it with labels"
    )
    api.put(f"/datasets/{dataset}/labels", json={f"{number}.png": "one" for number in range(20)}).raise_for_status()
    assert "two classes or more" in problem(api.post("/jobs", json=request), 422, "bad_parameters")
    api.put(f"/datasets/{dataset}/labels", json={"0.png": "other"}).raise_for_status()
    assert api.post("/jobs", json=request).status_code == 202


def test_a_job_fails_with_the_validation_that_finds_too_few_images(api: httpx.Client, db: Database, settings: Settings) -> None:
    files = {"file": ("few.zip", pictures(5))}
    few = api.post("/jobs", data={"params": "{}"}, files=files).raise_for_status().json()
    enough = api.post("/jobs", data={"params": "{}"}, files={"file": ("enough.zip", pictures(16))}).raise_for_status().json()
    for _ in range(2):
        owner = protocol.claim(db, Queue.TASKS, "test")
        assert owner is not None
        ingest(JobContext(db, settings, owner))
    ended = api.get(f"/jobs/{few['id']}").json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "too_few_images")
    assert "5 images are too few" in ended["error"]["message"]
    assert api.get(f"/jobs/{enough['id']}").json()["status"] == "queued"


def test_images_on_their_way_count_before_a_job_is_refused(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings, pictures(10))
    datasets.upload_path(settings, "up_1").write_bytes(pictures(18))  # ten of them are there already
    with db.write() as session:
        datasets.add(session, dataset, {"upload": "up_1", "filename": "more.zip"})
    one, many = (
        api.post("/jobs", json={"dataset_id": dataset, "params": params}).raise_for_status().json()["id"]
        for params in ({"neighbours": 17}, {"neighbours": 18})
    )
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None
    ingest(JobContext(db, settings, owner))
    assert [api.get(f"/jobs/{id_}").json()["status"] for id_ in (one, many)] == ["queued", "failed"]


def test_held_out_images_that_are_all_trained_on_are_refused_at_once(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset, same = ready_dataset(db, settings), ready_dataset(db, settings, pictures(3))
    answer = api.post("/jobs", json={"dataset_id": dataset, "evaluation_dataset_id": same})
    problem(answer, 422, "bad_parameters")
    assert "every image of it is in the dataset" in answer.json()["detail"]


def over(db: Database, settings: Settings, dataset: str, status: JobStatus, rounds: int = 2) -> str:
    """A training job that is over, with what its run leaves behind."""
    with db.write() as session:
        params = {"dim": 8, "seed": 3}
        job = lifecycle.create(session, JobKind.TRAIN, dataset, params=params, name="mine", metadata={"a": 1}).id
    owner = protocol.claim(db, Queue.TRAINING, "test")
    assert owner is not None and owner.job_id == job
    run = settings.layout.runs / job / "1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / f"r{rounds:02}-e00000-s000000-{'0' * 16}.pt").write_bytes(b"state")
    (run / "config.json").write_text(json.dumps({"rounds": rounds}))
    write_images(JobContext(db, settings, owner), dataset, run / "images.jsonl")
    with db.write() as session:
        values: dict[str, Any] = {}
        if status is JobStatus.SUCCEEDED:
            values["model_id"] = f"mdl_{job}"
            row = {"dataset_id": dataset, "job_id": job, "attempt": 1, "directory": f"{job}-1", "images": 20, "dim": 8}
            session.add(Model(id=values["model_id"], created_at=now(), **row))
        protocol.finish(session, owner, status, **values)
    return job


def test_what_trained_nothing_gets_no_more_rounds(api: httpx.Client, db: Database, settings: Settings) -> None:
    job = over(db, settings, ready_dataset(db, settings), JobStatus.SUCCEEDED, rounds=1)
    assert api.get(f"/jobs/{job}").json()["continuation"] == "more_rounds"
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job).values(params={"method": "frozen", "init": "imagenet"}))
    assert api.get(f"/jobs/{job}").json()["continuation"] is None
    answer = api.post(f"/jobs/{job}/continue", json={"add_rounds": 1})
    problem(answer, 409, "cannot_continue")
    assert "trains nothing (method: frozen)" in answer.json()["detail"]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_what_did_not_succeed_is_resumed_in_a_new_job(
    api: httpx.Client, db: Database, settings: Settings, status: JobStatus
) -> None:
    dataset = ready_dataset(db, settings)
    job = over(db, settings, dataset, status)
    assert api.get(f"/jobs/{job}").json()["continuation"] == "resume"
    assert api.get("/jobs?kind=train").json()["data"][0]["continuation"] == "resume"
    problem(api.post(f"/jobs/{job}/continue", json={"add_rounds": 1}), 409, "cannot_continue")
    key = {"Idempotency-Key": "a"}
    new = api.post(f"/jobs/{job}/continue", json={}, headers=key)
    assert (new.status_code, new.headers["Location"]) == (202, f"/jobs/{new.json()['id']}")
    body = new.json()
    assert (body["continues"], body["continuation"], body["status"]) == (job, None, "queued")
    assert (body["params"], body["name"], body["metadata"]) == ({"dim": 8, "seed": 3}, "mine", {"a": 1})
    assert api.post(f"/jobs/{job}/continue", json={}, headers=key).json()["id"] == body["id"]
    again = api.post(f"/jobs/{job}/continue", json={})
    problem(again, 409, "cannot_continue")
    assert body["id"] in again.json()["detail"]


def test_more_rounds_for_what_succeeded(api: httpx.Client, db: Database, settings: Settings) -> None:
    job = over(db, settings, ready_dataset(db, settings), JobStatus.SUCCEEDED)
    assert api.get(f"/jobs/{job}").json()["continuation"] == "more_rounds"
    problem(api.post(f"/jobs/{job}/continue", json={}), 409, "cannot_continue")
    problem(api.post(f"/jobs/{job}/continue", json={"add_rounds": 19}), 422, "bad_parameters")
    for bad in (0, 21, "x", 1.5):
        problem(api.post(f"/jobs/{job}/continue", json={"add_rounds": bad}), 422, "bad_request")
    body = api.post(f"/jobs/{job}/continue", json={"add_rounds": 3}).raise_for_status().json()
    assert body["params"] == {"dim": 8, "seed": 3, "rounds": 5}
    with pytest.raises(ModelInUse, match=body["id"]):
        published.remove(db, settings, f"mdl_{job}")
    api.post(f"/jobs/{body['id']}/cancel").raise_for_status()
    published.remove(db, settings, f"mdl_{job}")
    assert not (settings.root / "runs" / job).exists()
    problem(api.post(f"/jobs/{job}/continue", json={"add_rounds": 3}), 409, "cannot_continue")
    assert api.get(f"/jobs/{job}").json()["continuation"] is None


def test_no_going_on_without_checkpoints_or_before_the_end(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    waiting = api.post("/jobs", json={"dataset_id": dataset}).json()["id"]
    problem(api.post(f"/jobs/{waiting}/continue", json={}), 409, "cannot_continue")
    api.post(f"/jobs/{waiting}/cancel")
    problem(api.post(f"/jobs/{waiting}/continue", json={}), 409, "cannot_continue")
    ingested = api.get("/jobs?kind=ingest").json()["data"][0]["id"]
    problem(api.post(f"/jobs/{ingested}/continue", json={}), 409, "cannot_continue")
    problem(api.post("/jobs/job_none/continue", json={}), 404, "job_not_found")


def test_deleted_images_stop_it_and_added_ones_do_not(api: httpx.Client, db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    job = over(db, settings, dataset, JobStatus.CANCELLED)
    listed = settings.root / "runs" / job / "1" / "images.jsonl"
    datasets.upload_path(settings, "up_1").write_bytes(pictures(25))
    with db.write() as session:
        datasets.add(session, dataset, {"upload": "up_1", "filename": "more.zip"})
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None
    ingest(JobContext(db, settings, owner))
    new = api.post(f"/jobs/{job}/continue", json={}).raise_for_status().json()["id"]
    home = settings.root / "runs" / new
    with db.read() as session:
        bring_checkpoints(JobContext(db, settings, owner), lifecycle.get(session, new), home)
    assert (home / "0" / "images.jsonl").read_text() == listed.read_text()
    assert [path.name for path in (home / "0" / "checkpoints").iterdir()] == [f"r02-e00000-s000000-{'0' * 16}.pt"]
    api.post(f"/jobs/{new}/cancel").raise_for_status()
    deletions.delete_images(db, dataset, [json.loads(listed.read_text().splitlines()[4])["id"]])
    answer = api.post(f"/jobs/{job}/continue", json={})
    problem(answer, 409, "cannot_continue")
    assert f"1 of the 20 images that {job} was trained on were deleted" in answer.json()["detail"]


def test_the_sweep_keeps_what_can_go_on_and_not_for_ever(db: Database, settings: Settings) -> None:
    dataset = ready_dataset(db, settings)
    every = {
        status: over(db, settings, dataset, status) for status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUCCEEDED)
    }
    (settings.layout.models / f"{every[JobStatus.SUCCEEDED]}-1").mkdir()
    assert delete_orphans(db, settings) == []
    with db.write() as session:
        going_on = lifecycle.create(session, JobKind.TRAIN, dataset, continues=every[JobStatus.FAILED]).id
        old = now() - timedelta(days=settings.checkpoint_days + 1)
        session.execute(update(Job).where(Job.finished_at.is_not(None)).values(finished_at=old))
    assert [path.name for path in delete_orphans(db, settings)] == [every[JobStatus.CANCELLED]]
    with db.write() as session:
        session.execute(update(Job).where(Job.id == going_on).values(status=JobStatus.SUCCEEDED))
        session.execute(update(Job).where(Job.id == every[JobStatus.FAILED]).values(finished_at=now()))
    assert [path.name for path in delete_orphans(db, settings)] == [every[JobStatus.FAILED]]
    with db.write() as session:
        session.execute(Model.__table__.delete())  # type: ignore[attr-defined]
    assert every[JobStatus.SUCCEEDED] in [path.name for path in delete_orphans(db, settings)]


def test_the_verdict_stands_beside_the_figures(api: httpx.Client, db: Database, settings: Settings) -> None:
    job = over(db, settings, ready_dataset(db, settings), JobStatus.SUCCEEDED)
    assert api.get(f"/jobs/{job}").json()["verdict"] is None
    figures = {"knn_accuracy": 0.383, "untrained_accuracy": 0.396, "raw_pixel_accuracy": 0.565, "queries": 2000, "classes": 10}
    with db.write() as session:
        session.execute(update(Job).where(Job.id == job).values(evaluation=figures))
    assert api.get(f"/jobs/{job}").json()["verdict"] == {
        "sentence": "38.3 %, an untrained encoder 39.6 %, raw pixels 56.5 %: worse than raw pixels;"
        " train longer or start from pretrained weights",
        "better_than_frozen": None,
        "better_than_untrained": False,
        "better_than_raw_pixels": False,
    }
