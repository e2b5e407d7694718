"""The server that is attacked, with a dataset and a small published model, and requests to it as raw bytes."""

import io
import json
import os
import socket
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from benchmarks import server
from benchmarks.results import Result
from benchmarks.server import Embedded

TRAINING = {"preset": "quick", "rounds": 1, "epochs_first": 1, "epochs": 1, "dim": 8, "image_size": 8, "device": "cpu"}
_OVER = ("succeeded", "failed", "cancelled")


@dataclass
class Target:
    """Where the server is, which processes of it are looked at, and what is in it."""

    url: str
    api: list[int]
    workers: list[int]
    key: str | None = None
    dataset: str = ""
    model: str = ""
    job: str = ""
    images: list[int] = field(default_factory=list)
    volume: int = 200 << 20  # most bytes that an endless attack sends

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx.Client(base_url=self.url, timeout=600, headers=self.headers)
        address = urlsplit(self.url)
        self.host, self.port = address.hostname or "127.0.0.1", address.port or 80
        # A worker's jobs run in a process below it.
        below = (Path(f"/proc/{worker}/task/{worker}/children").read_text().split() for worker in self.workers)
        self.workers = [*self.workers, *(int(child) for children in below for child in children)]

    def request(self, method: str, path: str, **more: object) -> httpx.Response:
        """An answer; one that says to come back later is waited for."""
        while True:
            response = self.client.request(method, path, **more)  # type: ignore[arg-type]
            if response.status_code != 429:
                return response
            time.sleep(float(response.headers.get("Retry-After", 1)))

    def get(self, path: str) -> Result:
        result: Result = self.request("GET", path).raise_for_status().json()
        return result

    def finished(self, job: str, patience: float = 900) -> Result:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            body = self.get(f"/jobs/{job}")
            if body["status"] in _OVER:
                return body
            time.sleep(0.2)
        return {"status": "not over", "error": None}

    def job_of(self, dataset: str, kind: str) -> str:
        id_: str = self.get(f"/jobs?dataset_id={dataset}&kind={kind}&order=newest")["data"][0]["id"]
        return id_

    def upload(self, name: str, content: bytes) -> str:
        response = self.request("POST", "/datasets", files={"file": (name, content)}).raise_for_status()
        dataset: str = response.json()["id"]
        return dataset

    def prepare(self, images: int) -> None:
        """Upload pictures and train on them briefly."""
        self.dataset = self.upload("hostile.zip", pictures(images))
        self.finished(self.job_of(self.dataset, "ingest"))
        body = {"dataset_id": self.dataset, "params": TRAINING}
        self.job = self.request("POST", "/jobs", json=body).raise_for_status().json()["id"]
        if (done := self.finished(self.job))["status"] != "succeeded":
            raise RuntimeError(f"the training of the small model {done['status']}: {done['error']}")
        self.model = done["model_id"]
        after: str | None = ""
        while after is not None:
            page = self.get(f"/datasets/{self.dataset}/images?limit=1000" + (f"&after={after}" if after else ""))
            self.images += [image["id"] for image in page["data"]]
            after = page["next"]

    def connected(self, receive_buffer: int | None = None) -> socket.socket:
        made = socket.socket()
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.settimeout(60)
        made.connect((self.host, self.port))
        return made

    def head(self, method: str, path: str, **headers: str) -> bytes:
        """A request's first line and headers; names have underscores for hyphens."""
        named = {"Host": f"{self.host}:{self.port}", **self.headers}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def raw(self, parts: Iterable[bytes], patience: float = 120) -> str:
        """Send bytes until they end or the server has answered or gone away; what it answered, in short."""
        sent = 0
        with self.connected() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    sent += len(part)
                    if _readable(connection):
                        break
            except OSError:  # it was cut: perhaps with an answer
                pass
            connection.settimeout(patience)
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                return f"no answer to {sent:,} bytes in {patience:g} s"
            except OSError:
                answer = b""
        return short(answer) if answer else f"closed after {sent:,} bytes"


def short(answer: bytes) -> str:
    """The status of an answer, and its code where it is a problem document."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode("latin-1").removeprefix("HTTP/1.1 ")[:60]
    try:
        return f"{status.split()[0]} {json.loads(body)['code']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return status


def answered(response: httpx.Response) -> str:
    """The same of a whole answer, and how long it was."""
    try:
        code = f" {response.json()['code']}"
    except (ValueError, KeyError, TypeError):
        code = ""
    return f"{response.status_code}{code}, {len(response.content):,} bytes"


def pictures(count: int, side: int = 12) -> bytes:
    """A zip of so many different pictures."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            picture = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(picture, "PNG")
            archive.writestr(f"{number:06}.png", picture.getvalue())
    return file.getvalue()


@contextmanager
def started(work: Path, port: int) -> Iterator[Target]:
    """``anchorhood serve`` on a new data folder."""
    system = Embedded(work, port)
    with system.serve():
        yield Target(f"http://127.0.0.1:{port}", *processes(system.root))


def processes(root: Path) -> tuple[list[int], list[int]]:
    """The processes of the API and of the workers of the system with a data folder."""
    found: dict[str, list[int]] = {"service.api": [], "worker": []}
    for entry in server.processes(root):
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if int(entry.name) != os.getpid():
            for name, those in found.items():
                if any(word == name or word.startswith(f"{name}.") for word in command):
                    those.append(int(entry.name))
    return found["service.api"], found["worker"]


def _readable(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK)) or True
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(60)
