"""A disk without room, at each step: that request or job fails and says why, nothing half done stays, and the next one succeeds
once there is room. The embedded system, whose database is on the same disk."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import Live, wait_for

pytestmark = pytest.mark.slow


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def leave(self, room: int) -> None:
        """Fill the disk but for so many bytes."""
        while True:
            found = os.statvfs(self.folder)
            excess = found.f_bavail * found.f_frsize - room
            if excess <= 0:
                return
            try:
                with open(self._ballast, "ab") as file:
                    os.posix_fallocate(file.fileno(), file.tell(), excess)
                return
            except OSError as error:  # the system wrote in between
                if error.errno != errno.ENOSPC:
                    raise

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    folder = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def live(disk: Disk) -> Iterator[Live]:
    system = Live(disk.folder / "data", checkpoint_seconds=0.5, device="cpu")
    try:
        yield system.start()
    finally:
        disk.clear()
        system.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """About a MiB, none of which a validation may leave out."""
    return write_zip(tmp_path / "large.zip", {f"a/{i}.bmp": image_bytes(i, 128, "BMP") for i in range(20)})


@pytest.fixture(scope="module")
def dataset(live: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    return live.upload(picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 300))


def the_next_succeeds(live: Live, disk: Disk, dataset: str) -> None:
    disk.clear()
    job = live.finished(live.train(dataset), 180)
    assert job["status"] == "succeeded", job
    assert len(live.events(job["id"])) == live.events(job["id"])[-1]["seq"]
    assert live.client.delete(f"/models/{job['model_id']}").status_code in (204, 409)


def left_over(live: Live, job: str) -> list[str]:
    """Files of a failed job, but for its logs."""
    folders = [
        *live.data_dir.glob(f"models/{job}*"),
        *live.data_dir.glob(f"runs/{job}/*"),
        *live.data_dir.glob(f"datasets/*/{job}*"),
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if path.suffix != ".log" and path.stat().st_size]


def test_during_an_upload(live: Live, disk: Disk, archive: Path) -> None:
    before = live.get("/datasets")
    disk.leave(300_000)
    answer = live.client.post("/datasets", files={"file": archive.read_bytes()})
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert not list((live.data_dir / "uploads").iterdir())
    assert live.get("/datasets") == before
    disk.clear()
    assert live.get(f"/datasets/{live.upload(archive)}")["images"] == 20


def test_during_validation(live: Live, disk: Disk, archive: Path) -> None:
    disk.leave(archive.stat().st_size + 500_000)
    dataset = live.upload(archive)
    found = live.get(f"/datasets/{dataset}")
    assert (found["status"], found["error"]["code"]) == ("failed", "disk_full")
    assert "full" in found["error"]["message"]
    (job,) = live.get(f"/jobs?dataset_id={dataset}")["data"]
    assert (job["status"], job["error"]["code"]) == ("failed", "disk_full")
    assert [event["type"] for event in live.events(job["id"])].count("failed") == 1
    wait_for(lambda: not left_over(live, job["id"]), "its shards to be deleted", 10)
    assert not list((live.data_dir / "uploads").iterdir())
    disk.clear()
    assert live.get(f"/datasets/{live.upload(archive)}")["images"] == 20


def test_during_training(live: Live, disk: Disk, dataset: str) -> None:
    job = live.train(dataset, epochs_first=200, epochs=200)
    wait_for(lambda: any((live.data_dir / "runs" / job).glob("*/checkpoints/r*.pt")), "a checkpoint", 90)
    disk.leave(0)
    found = live.finished(job, 120)
    assert (found["status"], found["error"]["code"]) == ("failed", "disk_full")
    assert not left_over(live, job)
    assert live.client.get("/readyz").status_code == 200
    the_next_succeeds(live, disk, dataset)


def test_between_judging_and_publishing(live: Live, disk: Disk, dataset: str) -> None:
    start = live.finished(live.train(dataset, dim=1024))["model_id"]
    models = live.get("/models")
    job = live.train(dataset, init=start, dim=1024, epochs_first=0, rounds=2)  # judged before it is published
    wait_for(lambda: any(event["type"] == "evaluating" for event in live.events(job)), "the evaluation", 120)
    # Enough for the figures of the evaluation and for what SQLite logs during it, however slow it is; an index of 300 x 1,024
    # numbers takes 1,228,800.
    disk.leave(1_000_000)
    found = live.finished(job, 120)
    assert (found["status"], found["error"]["code"]) == ("failed", "disk_full")
    log = (live.data_dir / "logs" / "worker-training.log").read_text().partition(f"{job}: a disk is full")[2]
    assert "publish.py" in log or "_export" in log, log  # what the run started from is exported first, where that is better
    assert live.get("/models") == models
    assert not left_over(live, job)
    the_next_succeeds(live, disk, dataset)


def test_while_nothing_can_be_written_the_api_answers_and_the_job_goes_on_afterwards(
    live: Live, disk: Disk, dataset: str
) -> None:
    job = live.train(dataset, epochs_first=10)
    wait_for(lambda: any((live.data_dir / "runs" / job).glob("*/images.jsonl")), "the job to begin", 60)
    disk.leave(0)
    answers = []
    for _ in range(200):  # SQLite has some room of its own until its log is full
        disk.leave(0)
        answers.append(live.client.post("/jobs", json={"dataset_id": dataset, "metadata": {"padding": "x" * 50_000}}))
        assert live.get(f"/jobs/{job}")["id"] == job
        if answers[-1].status_code == 507:
            break
    assert answers[-1].json()["code"] == "disk_full"
    disk.clear()
    for accepted in answers[:-1]:
        live.client.post(f"/jobs/{accepted.json()['id']}/cancel").raise_for_status()
    found = live.finished(job, 180)
    types = [event["type"] for event in live.events(job)]
    assert (found["status"], types.count(found["status"])) in (("succeeded", 1), ("failed", 1)), found
    assert found["status"] == "succeeded" or found["error"]["code"] == "disk_full"
