"""A live system for tests, spoken to over HTTP: here the embedded one, ``anchorhood serve`` in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

TINY = {"preset": "quick", "rounds": 2, "epochs_first": 1, "epochs": 1, "dim": 8, "batch_size": 16, "device": "cpu"}


class Running:
    """A system that runs in other processes, spoken to over HTTP."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.data_dir = data_dir
        values = {"data_dir": data_dir, "port": self.port, "threads": 1, "heartbeat_seconds": 0.5, "lost_after_seconds": 4}
        self.settings = {**values, **settings}
        self.env = {f"ANCHORHOOD_{name.upper()}": str(value) for name, value in self.settings.items()}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def alive(self) -> bool:
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def processes(self) -> dict[int, str]:
        """Every living process of this system, by the data folder in its environment or its command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            own = f"ANCHORHOOD_DATA_DIR={self.data_dir}".encode() in environment or str(self.data_dir) in command
            if own and state != "Z" and int(entry.name) != os.getpid():
                found[int(entry.name)] = command
        return found

    def upload(self, path: Path, labels: str = "folders") -> str:
        with open(path, "rb") as file:
            response = self.client.post("/datasets", data={"labels": labels}, files={"file": (path.name, file)})
        assert response.status_code == 202, response.text
        id_: str = response.json()["id"]
        wait_for(lambda: self.get(f"/datasets/{id_}")["status"] != "validating", "the validation", 60)
        return id_

    def train(self, dataset: str, evaluation: str | None = None, **params: Any) -> str:
        request = {"dataset_id": dataset, "evaluation_dataset_id": evaluation, "params": {**TINY, **params}}
        response = self.client.post("/jobs", json=request)
        assert response.status_code == 202, response.text
        id_: str = response.json()["id"]
        return id_

    def finished(self, job: str, patience: float = 120) -> dict[str, Any]:
        over = ("succeeded", "failed", "cancelled")
        wait_for(lambda: self.get(f"/jobs/{job}")["status"] in over, f"the end of {job}", patience)
        return self.get(f"/jobs/{job}")

    def events(self, job: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.get(f"/jobs/{job}/events?limit=1000")["data"]
        return events

    def get(self, path: str) -> Any:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()


class Live(Running):
    """``anchorhood serve``: ``start`` and ``stop`` it on one data folder as often as needed."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Live":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with open(self.data_dir / "serve.log", "ab") as log:
            command = [sys.executable, "-m", "anchorhood", "serve"]
            self.process = subprocess.Popen(command, env={**os.environ, **self.env}, stdout=log, stderr=log)
        wait_for(self.alive, "the API", 60)
        return self

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.data_dir / "serve.log").read_text()
        return super().alive()

    def stop(self, number: int = signal.SIGINT) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(90)
            self.process = None

    def close(self) -> None:
        self.stop()
        self.client.close()


def wait_for(condition: Callable[[], bool], what: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.1)
