"""The real service in a process of its own, for the benchmarks that ask it over HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import httpx

from benchmarks.results import Result


@contextmanager
def running(
    command: list[str], port: int, path: str, env: Mapping[str, str] | None = None, log: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from its first answer on; ``log`` takes what it logs."""
    process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=log)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}{path}").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def processes(root: Path) -> Iterator[Path]:
    """The folders in ``/proc`` of the processes of the system with a data folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"ANCHORHOOD_DATA_DIR={root}".encode() in environment:
            yield process


class Embedded:
    """``anchorhood serve`` on the benchmark's data folder."""

    def __init__(self, work: Path, port: int) -> None:
        self.root, self.port = work / "data", port
        self.env = {"ANCHORHOOD_DATA_DIR": str(self.root), "ANCHORHOOD_PORT": str(port)}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)

    def serve(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return running([sys.executable, "-m", "anchorhood", "serve"], self.port, "/healthz", self.env)

    def upload(self, path: Path, labels: str = "folders") -> tuple[str, Result]:
        """Upload and validate an archive; its dataset and job."""
        with open(path, "rb") as file:
            response = self.client.post("/datasets", files={"file": (path.name, file)}, data={"labels": labels})
        dataset = response.raise_for_status().json()["id"]
        jobs = self.client.get("/jobs?kind=ingest&limit=1000").json()["data"]
        return dataset, self.finished(next(job["id"] for job in jobs if job["dataset_id"] == dataset))

    def finished(self, job: str) -> Result:
        while True:
            body: Result = self.client.get(f"/jobs/{job}").json()
            if body["status"] in ("succeeded", "failed", "cancelled"):
                if body["status"] != "succeeded":
                    raise RuntimeError(f"{job}: {body['error']}")
                return body
            time.sleep(0.2)

    def peaks(self, reset: bool = False) -> dict[str, float]:
        """The most memory each of its processes has held, MiB, by name; ``reset`` begins anew."""
        found: dict[str, float] = {}
        for process in processes(self.root):
            try:
                if reset:
                    (process / "clear_refs").write_text("5")
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                name = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
                found[f"{process.name} {name}"] = int(status["VmHWM"].split()[0]) / 1024
            except (OSError, KeyError):
                continue
        return found
