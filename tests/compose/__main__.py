"""``python -m tests.compose``: build the deployment, use it, stop and start it, and kill every container during a job.

Needs a container engine with Compose; prints what it did, and one JSON object last. Its project is ``anchorhood-check``, which
it removes with its volumes at the end.
"""

import io
import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from service.operations.demo import write_digits
from tests.compose.confined import limited, refused
from tests.compose.deployment import OVER, Deployment
from tests.live import TINY

LONG = {**TINY, "epochs_first": 40, "epochs": 5}  # long enough to be killed in the middle
SERVICES = ("api", "worker-training", "worker-tasks", "redis", "postgres")
SIDE = 768  # pixels; large pictures, so that validating them takes a while


def main() -> None:
    system = Deployment()
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = check(system, Path(folder))
    except BaseException:
        print(system.compose("logs", "--tail", "40"), file=sys.stderr)
        raise
    finally:
        system.compose("down", "--volumes")
    print(json.dumps(result))


def check(system: Deployment, folder: Path) -> dict[str, Any]:
    seconds: dict[str, float] = {}

    def step(name: str, *arguments: str) -> None:
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        system.up(*arguments) if name.startswith("up") else system.compose(*arguments)
        seconds[name] = round(time.monotonic() - started, 1)

    step("build", "build")
    images = {name: int(system.docker("inspect", "--format", "{{.Size}}", f"anchorhood-{name}")) for name in ("api", "worker")}
    step("up")
    closed(system)
    limited(system, SERVICES)
    refused(system)
    others, few = write_digits(folder)  # 1,437 and 360 images
    dataset = system.ready(system.upload(few))
    first = system.finished(train(system, dataset, TINY))
    weights = "python -c 'from core.ground import parameters; print(parameters.weights_file())'"
    for service in ("api", "worker-training"):
        assert system.inside(service, weights).strip().endswith(".pth"), f"{service} has no pretrained weights"
    before = answers(system, dataset, others)
    step("down", "down")
    step("up again")
    assert answers(system, dataset, others) == before, "other answers after down and up"
    print(f"{len(before)} answers are the same after down and up")

    jobs = [
        first,
        drained(system, dataset, seconds),
        *(killed(system, name, dataset) for name in SERVICES if name != "worker-tasks"),
    ]
    jobs.append(killed_validating(system, others))
    jobs += side_by_side(system, dataset)
    folders = system.inside("api", "ls /data/models").split()
    trained = [job for job in jobs if job["kind"] == "train"]
    assert sorted(folders) == sorted(f"{job['id']}-{job['attempt']}" for job in trained), "not one model for each training"
    attempts = {job["name"]: job["attempt"] for job in jobs if job["name"]}
    return {"jobs": len(jobs), "succeeded": len(jobs), "answers_same": len(before), "killed": SERVICES, "attempts": attempts} | {
        "image_bytes": images,
        "seconds": seconds,
    }


def closed(system: Deployment) -> None:
    """Nobody gets in without the key, nothing but the API can be reached, and a container can do little."""
    assert system.client.get("/datasets", headers={"Authorization": ""}).status_code == 401
    for service in SERVICES:
        state = system.state(service)
        ports = [binding for bindings in state["NetworkSettings"]["Ports"].values() for binding in bindings or []]
        assert [port["HostIp"] for port in ports] == (["127.0.0.1"] if service == "api" else []), (service, ports)
        first, root = system.inside(service, "cat /proc/1/status; touch /x 2>&1 || true").rsplit("\n", 1)
        assert "Read-only file system" in root, (service, root)
        fields = dict(line.split(":\t", 1) for line in first.splitlines())
        assert fields["NoNewPrivs"] == "1" and int(fields["CapEff"], 16) == 0, (service, fields)
        assert fields["Uid"].split()[0] != "0", f"{service} runs as root"
    for service in ("api", "worker-training"):
        found = system.inside(service, "command -v gcc cc g++ c++ clang ld as || true")
        assert not found, f"{service} has a compiler: {found}"
    assert "No module named 'torch'" in system.inside("api", "python -c 'import torch' 2>&1 || true")
    print("closed: 401 without the key, one port on 127.0.0.1, users other than root, read-only, no capabilities, no compiler")


def answers(system: Deployment, dataset: str, others: Path) -> list[Any]:
    """Neighbours of stored images and of others, as the API gives them."""
    images = system.get(f"/datasets/{dataset}/images?limit=20")["data"]
    found = [system.get(f"/neighbours?image_id={image['id']}&k=10") for image in images]
    with zipfile.ZipFile(others) as archive:
        for name in archive.namelist()[:5]:
            form: dict[str, Any] = {"data": {"dataset_id": dataset}, "files": {"file": (name, archive.read(name))}}
            for path in ("/neighbours", "/classify"):
                response = system.client.post(path, **form)
                assert response.status_code == 200, response.text
                found.append(response.json())
    return [{key: value for key, value in answer.items() if key != "took_ms"} for answer in found]


def train(system: Deployment, dataset: str, params: dict[str, Any], name: str | None = None) -> str:
    return str(system.post("/jobs", json={"dataset_id": dataset, "params": params, "name": name})["id"])


def in_training(system: Deployment, dataset: str, name: str) -> str:
    """A job that has trained for some epochs."""
    job = train(system, dataset, LONG, name)
    system.wait(lambda: ((system.get(f"/jobs/{job}")["progress"] or {}).get("epoch") or 0) >= 2, f"{job} to train", 120)
    return job


def drained(system: Deployment, dataset: str, seconds: dict[str, float]) -> dict[str, Any]:
    """SIGTERM: the worker writes a checkpoint and hands its job back."""
    job = in_training(system, dataset, "worker-training stopped")
    started = time.monotonic()
    system.compose("stop", "worker-training")
    seconds["drain"] = round(time.monotonic() - started, 1)
    state = system.state("worker-training")["State"]
    assert state["ExitCode"] == 0, f"the worker had to be killed: {state}"
    assert system.get(f"/jobs/{job}")["status"] == "queued", "the job was not handed back"
    system.compose("start", "worker-training")
    return told(system.finished(job), least=2)


def killed(system: Deployment, service: str, dataset: str) -> dict[str, Any]:
    job = in_training(system, dataset, f"{service} killed")
    system.kill(service)
    assert system.get(f"/jobs/{job}")["status"] not in OVER, "the job was over before its container was killed"
    return told(system.finished(job), least=2 if service == "worker-training" else 1)


def killed_validating(system: Deployment, others: Path) -> dict[str, Any]:
    """The queue "tasks" has no long job on few images, so that it gets large ones."""
    path = others.with_name("large.zip")
    with zipfile.ZipFile(others) as digits, zipfile.ZipFile(path, "w") as large:
        names = digits.namelist()
        for name in names:
            picture, file = Image.open(io.BytesIO(digits.read(name))), io.BytesIO()
            picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG")
            large.writestr(name, file.getvalue())
    dataset = system.upload(path)
    (job,) = system.get(f"/jobs?dataset_id={dataset}&kind=ingest")["data"]
    system.wait(lambda: system.get(f"/jobs/{job['id']}")["status"] == "running", "the validation to start", 60)
    system.kill("worker-tasks")
    found = told({**system.finished(job["id"]), "name": "worker-tasks killed"}, least=2)
    assert system.get(f"/datasets/{dataset}")["images"] == len(names), "images were lost or doubled"
    return found


def side_by_side(system: Deployment, dataset: str) -> list[dict[str, Any]]:
    """Two workers of each kind: two trainings overlap."""
    system.up("--no-recreate", "--scale", "worker-training=2", "--scale", "worker-tasks=2")
    ids = [train(system, dataset, LONG, f"side by side {i}") for i in range(2)]
    one, other = (system.finished(id_) for id_ in ids)
    assert max(one["started_at"], other["started_at"]) < min(one["finished_at"], other["finished_at"]), "one after the other"
    return [told(one), told(other)]


def told(job: dict[str, Any], least: int = 1) -> dict[str, Any]:
    assert job["attempt"] >= least, f"{job['name']}: nothing was interrupted, attempt {job['attempt']}"
    print(f"{job['name']}: {job['id']} succeeded once, attempt {job['attempt']}", flush=True)
    return job


if __name__ == "__main__":
    main()
