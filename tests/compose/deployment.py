"""``docker compose`` on the files of this checkout, under a project name and on a port of its own."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
OVER = ("succeeded", "failed", "cancelled")


class Deployment:
    """The system as ``docker compose up`` runs it, spoken to over its published port with the admin key."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        files = ["--file", "docker-compose.yml", "--file", "tests/compose/settings.yml"]
        self._command = ["docker", "compose", "--project-name", "anchorhood-check", *files]
        self._env = {**os.environ, "ANCHORHOOD_PUBLISH": address}
        self.client = httpx.Client(base_url=f"http://{address}", timeout=60)

    def compose(self, *arguments: str) -> str:
        return self._run([*self._command, *arguments])

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout.strip()

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--wait", *arguments)
        self.client.headers["Authorization"] = f"Bearer {self.inside('api', 'cat /secrets/admin-key')}"

    def inside(self, service: str, script: str) -> str:
        """What a shell prints in a service's container."""
        return self.compose("exec", "--no-TTY", service, "sh", "-c", script)

    def state(self, service: str) -> dict[str, Any]:
        """What the engine says of a service's container."""
        (found,) = json.loads(self.docker("inspect", self.compose("ps", "--all", "--quiet", service)))
        assert isinstance(found, dict)
        return found

    def kill(self, service: str) -> None:
        """SIGKILL of a container's first process from outside, after which the restart policy must bring it back; `docker
        kill` would count as a wish that it stay away."""
        before = self.state(service)
        script = f"kill -9 {before['State']['Pid']}"
        where = ("--rm", "--privileged", "--pid", "host", "--network", "none", "--user", "0:0", "--entrypoint", "sh")
        self.docker("run", *where, "anchorhood-api", "-c", script)
        self.wait(lambda: self.state(service)["RestartCount"] > before["RestartCount"], f"{service} to be started again", 60)

    def get(self, path: str) -> Any:
        """An answer, however long the API or its database are away meanwhile, up to a minute."""
        deadline = time.monotonic() + 60
        while True:
            try:
                response = self.client.get(path)
                if response.status_code == 200:
                    return response.json()
                problem = response.text
                assert response.status_code >= 500, problem
            except httpx.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < deadline, f"GET {path}: {problem}"
            time.sleep(0.2)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        response = self.client.post(path, **body)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def upload(self, path: Path) -> str:
        """Send an archive; returns the dataset's id at once."""
        with open(path, "rb") as file:
            return str(self.post("/datasets", data={"labels": "folders"}, files={"file": (path.name, file)})["id"])

    def ready(self, dataset: str) -> str:
        self.wait(lambda: self.get(f"/datasets/{dataset}")["status"] != "validating", f"the validation of {dataset}", 180)
        assert self.get(f"/datasets/{dataset}")["status"] == "ready"
        return dataset

    def finished(self, job: str) -> dict[str, Any]:
        """A job after its end, which came exactly once: it succeeded, and its events are in order without gaps."""
        self.wait(lambda: self.get(f"/jobs/{job}")["status"] in OVER, f"the end of {job}", 300)
        found: dict[str, Any] = self.get(f"/jobs/{job}")
        assert found["status"] == "succeeded", found
        events = self.get(f"/jobs/{job}/events?limit=1000")["data"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), events
        assert [event["type"] for event in events if event["type"] in OVER] == ["succeeded"], events
        assert events[-1]["type"] == "succeeded", events
        return found

    @staticmethod
    def wait(condition: Callable[[], bool], what: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
            time.sleep(0.1)
