"""SIGKILL of a worker, of the training process and of the whole system: the job still ends once, with the same result."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import Live, wait_for

pytestmark = pytest.mark.slow
# Long enough to be killed four times on a fast machine, short enough to be run several times.
PARAMS = {"rounds": 3, "epochs_first": 20, "epochs": 10, "batch_size": 16, "dim": 16}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 300)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    system = Live(tmp_path / "data", checkpoint_seconds=0.5)
    yield system.start()
    system.close()
    wait_for(lambda: not system.processes(), "every process to end", 20)


@pytest.fixture(scope="module")
def expected(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The embeddings of a run that nobody disturbed."""
    live = Live(tmp_path_factory.mktemp("calm") / "data").start()
    try:
        job = live.finished(live.train(live.upload(pictures), **PARAMS), 180)
        assert job["status"] == "succeeded", job
        return embeddings(live, job)
    finally:
        live.close()


def embeddings(live: Live, job: dict[str, object]) -> np.ndarray:
    return np.load(live.data_dir / "models" / f"{job['id']}-{job['attempt']}" / "embeddings.npy")  # type: ignore[no-any-return]


def in_training(live: Live, job: str, killed: int | None = None) -> int | None:
    """Wait until the job trains, past a checkpoint of its own, after a training process was killed; returns the new one's id."""

    def trains() -> bool:
        run = live.data_dir / "runs" / job / str(live.get(f"/jobs/{job}")["attempt"])
        return any(run.glob("checkpoints/r*.pt")) and find(live, "-m trainer run") not in (None, killed)

    wait_for(trains, "a checkpoint", 90)
    assert live.get(f"/jobs/{job}")["status"] == "running"
    return find(live, "-m trainer run")


def find(live: Live, words: str) -> int | None:
    return next((pid for pid, command in live.processes().items() if words in command), None)


def check(live: Live, job_id: str, expected: np.ndarray, attempts: int = 2) -> None:
    job = live.finished(job_id, 240)
    assert job["status"] == "succeeded", job
    assert job["attempt"] >= attempts
    events = live.events(job_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events].count("succeeded") == 1
    epochs = [(event["data"]["round"], event["data"]["epoch"]) for event in events if event["type"] == "epoch"]
    assert epochs == [(r, e) for r, count in enumerate((20, 10, 10)) for e in range(count)]
    resumed = [event["data"]["resumed_at"] for event in events if event["type"] == "started"]
    assert resumed[0] is None
    assert sum(map(bool, resumed)) >= attempts - 1, "a later attempt did not start from a checkpoint"
    assert len(list((live.data_dir / "models").iterdir())) == 1
    assert np.abs(embeddings(live, job) - expected).max() <= 1e-5


def test_whatever_is_killed_the_job_goes_on(live: Live, pictures: Path, expected: np.ndarray) -> None:
    """The training process, the pool's, the worker and at last the whole system, one after another under one job."""
    job = live.train(live.upload(pictures), **PARAMS)
    trainer = in_training(live, job)
    os.kill(trainer, signal.SIGKILL)

    trainer = in_training(live, job, trainer)
    os.kill(int(Path(f"/proc/{trainer}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)  # its parent

    trainer = in_training(live, job, trainer)
    os.kill(find(live, "-m worker --queue training"), signal.SIGKILL)
    wait_for(lambda: trainer not in live.processes(), "the orphaned training process to end", 10)

    in_training(live, job, trainer)
    live.stop(signal.SIGKILL)
    wait_for(lambda: not live.processes(), "every process to end", 15)
    live.start()
    check(live, job, expected, 5)


def test_ctrl_c_hands_the_job_back_and_a_restart_ends_it(live: Live, pictures: Path, expected: np.ndarray) -> None:
    job = live.train(live.upload(pictures), **PARAMS)
    in_training(live, job)
    live.stop(signal.SIGINT)
    assert not live.processes()
    live.start()
    check(live, job, expected)


def test_cancel_while_training_frees_the_device(live: Live, pictures: Path) -> None:
    job = live.train(live.upload(pictures), **PARAMS)
    waiting = live.train(live.get(f"/jobs/{job}")["dataset_id"], **PARAMS)
    trainer = in_training(live, job)
    assert live.client.post(f"/jobs/{waiting}/cancel").json()["status"] == "cancelled"
    assert live.client.post(f"/jobs/{job}/cancel").status_code == 202
    assert live.finished(job, 15)["status"] == "cancelled"
    assert trainer not in live.processes()
    assert live.finished(waiting)["attempt"] == 0
    assert live.get(f"/jobs/{waiting}")["continuation"] is None
    assert live.get(f"/jobs/{job}")["model_id"] is None
    again = live.finished(live.train(live.get(f"/jobs/{job}")["dataset_id"]), 90)
    assert again["status"] == "succeeded"


def test_what_was_cancelled_goes_on_and_what_is_done_gets_more_rounds(live: Live, pictures: Path, expected: np.ndarray) -> None:
    dataset = live.upload(pictures)
    job = live.train(dataset, **PARAMS)
    in_training(live, job)
    live.client.post(f"/jobs/{job}/cancel").raise_for_status()
    assert live.finished(job, 15)["continuation"] == "resume"
    images = live.get(f"/datasets/{dataset}/images?limit=1000")["data"]
    archive = write_zip(live.data_dir.parent / "more.zip", {f"more/{i}.png": image_bytes(9000 + i) for i in range(5)})
    with open(archive, "rb") as file:  # added since: what goes on trains on the same images as before
        added = live.client.post(f"/datasets/{dataset}/images", files={"file": ("more.zip", file)}).raise_for_status().json()
    assert live.finished(added["id"], 60)["status"] == "succeeded"
    resumed = live.client.post(f"/jobs/{job}/continue", json={}).raise_for_status().json()["id"]
    fractions: list[float] = []

    def over() -> bool:
        body = live.get(f"/jobs/{resumed}")
        fractions.append((body["progress"] or {}).get("fraction", 0.0))
        return body["status"] in ("succeeded", "failed", "cancelled")

    wait_for(over, "the end of the resumed job", 240)
    done = live.get(f"/jobs/{resumed}")
    assert done["status"] == "succeeded", done
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert [event["data"]["resumed_at"] is not None for event in live.events(resumed) if event["type"] == "started"] == [True]
    assert np.abs(embeddings(live, done) - expected).max() <= 1e-5

    more = live.client.post(f"/jobs/{resumed}/continue", json={"add_rounds": 1}).raise_for_status().json()["id"]
    longer = live.finished(more, 240)
    assert longer["status"] == "succeeded", longer
    assert (longer["continues"], len(longer["evaluation"]["rounds"])) == (resumed, 4)
    run = live.data_dir / "runs" / resumed / str(done["attempt"])
    own = [sys.executable, "-m", "trainer", "run", str(run / "images.jsonl"), "--out", str(run), "--threads", "1"]
    subprocess.run([*own, "--add-rounds", "1"], check=True, capture_output=True)
    assert np.abs(embeddings(live, longer) - np.load(run / "model" / "embeddings.npy")).max() <= 1e-5
    live.client.post(f"/datasets/{dataset}/deletions", json={"image_ids": [images[0]["id"]]}).raise_for_status()
    refused = live.client.post(f"/jobs/{resumed}/continue", json={"add_rounds": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot_continue")


def test_the_broker_is_killed_while_jobs_wait(live: Live, pictures: Path) -> None:
    dataset = live.upload(pictures)
    os.kill(find(live, "service.operations.valkey"), signal.SIGKILL)
    job = live.train(dataset)
    assert live.finished(job, 120)["status"] == "succeeded"


def test_a_second_serve_on_the_same_folder_is_refused(live: Live) -> None:

    env = {**os.environ, **live.env, "ANCHORHOOD_PORT": "1"}
    second = subprocess.run([sys.executable, "-m", "anchorhood", "serve"], env=env, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "in use by another" in second.stderr
    time.sleep(0.5)
    assert live.alive()
