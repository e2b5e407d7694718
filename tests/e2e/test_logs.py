"""The logs of the whole system as JSON: one request is found in those of the API, of the workers and of the trainer."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from anchorhood import ApiError, Client
from core.store.keys import generate
from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import TINY, Live, wait_for
from tests.published import Published

pytestmark = pytest.mark.slow
Line = dict[str, Any]


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_request_is_found_in_every_log(tmp_path: Path) -> None:
    with_a_bad_one = picture_zip(tmp_path / "pictures.zip", 16)
    live = Live(tmp_path / "data", log_format="json").start()
    try:
        files = {"file": ("pictures.zip", with_a_bad_one.read_bytes())}
        upload = live.client.post("/datasets", files=files, headers={"X-Request-ID": "the-upload"}).json()["id"]
        request = {"dataset_id": upload, "params": TINY}
        job = live.client.post("/jobs", json=request, headers={"X-Request-ID": "the-training"}).json()["id"]
        assert live.finished(job)["status"] == "succeeded"
        images = live.get(f"/datasets/{upload}/images")["data"]
        named = {"image_id": images[0]["id"], "label": "a-secret-label"}
        assert live.client.put(f"/datasets/{upload}/labels", json=[named]).status_code == 200
        assert len(live.get(f"/datasets/{upload}/images?label=a-secret-label")["data"]) == 1
        live.client.put(f"/datasets/{upload}/labels", json=[{"path": "no-such-image", "label": "a-secret-label"}])
        late = write_zip(tmp_path / "late.zip", {"late.png": image_bytes(99)}).read_bytes()
        files = {"file": ("late.zip", late)}
        answer = live.client.post(f"/datasets/{upload}/images", files=files, headers={"X-Request-ID": "more"})
        assert answer.status_code == 202
        wait_for(lambda: live.get("/jobs?kind=embed")["data"] != [], "an embed job", 60)
        embed = live.get("/jobs?kind=embed")["data"][0]["id"]
        assert live.finished(embed)["status"] == "succeeded"
    finally:
        live.close()
    for log in live.data_dir.rglob("*.log"):
        assert "a-secret-label" not in log.read_text() and "no-such-image" not in log.read_text(), log
    found = {path.stem: lines(path) for path in (live.data_dir / "logs").glob("*.log")}
    api, tasks, training = found["api"], found["worker-tasks"], found["worker-training"]
    for line in [*api, *tasks, *training]:
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["time"].endswith("+00:00")
    access = [line for line in api if line["logger"] == "uvicorn.access" and line.get("request_id") == "the-training"]
    assert len(access) == 1 and "POST /jobs" in access[0]["message"]
    mine = [line for line in training if line.get("request_id") == "the-training"]
    assert {"worker.tasks", "trainer"} <= {line["logger"] for line in mine}
    assert all((line["job_id"], line["attempt"]) == (job, 1) for line in mine)
    (of_the_run,) = (live.data_dir / "runs" / job).glob("*/trainer.log")
    told = lines(of_the_run)
    assert told and all((line["request_id"], line["job_id"]) == ("the-training", job) for line in told)
    assert [line for line in mine if line["logger"] == "trainer"] == told
    assert any(line.get("request_id") == "the-upload" and line["logger"] == "worker.tasks" for line in tasks)
    follow_up = [line for line in tasks if line.get("job_id") == embed]
    assert {line["request_id"] for line in follow_up} == {"more"}  # by way of the validation


def test_the_clients_id_is_found_in_the_trainers_log_whatever_the_format(published: Published) -> None:
    live = published.live
    with Client(f"http://127.0.0.1:{live.port}") as client:
        job = client.jobs.create(published.dataset, **TINY).wait()
        with pytest.raises(ApiError) as refused:
            client.jobs.get("job_none")
    (of_the_run,) = (live.data_dir / "runs" / job.id).glob("*/trainer.log")
    ids = {(line["request_id"], line["job_id"], line["attempt"]) for line in lines(of_the_run)}
    ((request_id, *of_the_job),) = ids
    assert of_the_job == [job.id, 1] and re.fullmatch("[0-9a-f]{32}", request_id)
    fields = f" request_id={request_id} job_id={job.id} attempt=1"
    assert len(re.findall(f"{fields}$", (live.data_dir / "logs/worker-training.log").read_text(), re.MULTILINE)) >= 2
    of_the_api = (live.data_dir / "logs/api.log").read_text()
    assert re.search(f'"POST /jobs HTTP/1.1" 202 request_id={request_id}$', of_the_api, re.MULTILINE)
    assert f"request_id={refused.value.request_id}" in of_the_api


def test_what_the_trainer_says_last_is_the_jobs_error(tmp_path: Path) -> None:
    live = Live(tmp_path / "data", log_format="json", device="cuda:7").start()
    try:
        params = {name: value for name, value in TINY.items() if name != "device"}
        request = {"dataset_id": live.upload(picture_zip(tmp_path / "a.zip", 16)), "params": params}
        job = live.finished(live.client.post("/jobs", json=request).json()["id"])
    finally:
        live.close()
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_parameters")
    assert job["error"]["message"].startswith("device:")


@pytest.mark.parametrize("command", ["api", "worker --queue tasks", "migrate"])
@pytest.mark.parametrize("format", ["json", "text"])
def test_no_secret_is_in_the_logs_of_what_cannot_connect(command: str, format: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgresql+psycopg://somebody:hunter2secret@127.0.0.1:1/none",
        "BROKER_URL": "redis://:otherSecret9@127.0.0.1:1/0",
        "LOG_FORMAT": format,
        "PORT": str(port),
    }
    log = tmp_path / "log"
    with open(log, "wb") as file:
        given = {**os.environ, **{f"ANCHORHOOD_{name}": value for name, value in env.items()}}
        process = subprocess.Popen([sys.executable, "-m", "anchorhood", *command.split()], env=given, stdout=file, stderr=file)
    key = generate()
    try:
        if command == "api":
            wait_for(lambda: asked(port, key), "the API", 60)
        wait_for(
            lambda: re.search("(database|broker|connect).*(refused|not answer)", log.read_text()) is not None, "the error", 60
        )
    finally:
        process.terminate()
        process.wait(60)
    for secret in ("hunter2secret", "otherSecret9", key):
        assert secret not in log.read_text()


def asked(port: int, key: str) -> bool:
    """Whether the API answers; with a key, to what looks at database and broker."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        for path in ("/readyz", "/datasets", f"/datasets?after={key}"):
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=30)
            assert answer.status_code == 503
            assert "secret" not in answer.text.lower()
    except httpx.TransportError:
        return False
    return True
