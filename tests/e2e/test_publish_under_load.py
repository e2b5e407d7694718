"""Publishing, moving back, adding, deleting and compacting under load from several API processes: no error, no mixed answer."""

import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import image_bytes, picture_zip
from tests.live import Live, wait_for

pytestmark = pytest.mark.slow


@contextmanager
def another_api(live: Live) -> Iterator[str]:
    """A further API process on the same database and folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, **live.env, "ANCHORHOOD_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "service.api"], env=env, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(answers, "another API process", 60)
        yield url
    finally:
        process.terminate()
        process.wait(60)


class Load:
    """Threads that ask for neighbours without a pause and keep every answer."""

    def __init__(self, urls: list[str], ids: list[int]) -> None:
        self.answers: list[tuple[float, int, dict[str, Any]]] = []  # when it was asked, for which image, the answer
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, ids[number:])) for number, url in enumerate(urls * 2)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, ids: list[int]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            number = 0
            while not self._over.is_set():
                id_ = ids[number % len(ids)]
                number += 1
                asked = time.monotonic()
                response = client.get(f"/neighbours?image_id={id_}&k=8")
                if response.status_code == 200:
                    self.answers.append((asked, id_, response.json()))
                else:
                    self.failures.append(response.text)


def vectors_of(live: Live, model: str) -> dict[int, np.ndarray]:
    with np.load(io.BytesIO(live.client.get(f"/models/{model}/embeddings").content)) as file:
        return dict(zip(file["ids"].tolist(), file["embeddings"], strict=True))


def test_no_error_and_no_mixed_answer(tmp_path: Path) -> None:
    live = Live(tmp_path / "data").start()
    try:
        dataset = live.upload(picture_zip(tmp_path / "pictures.zip", 40))
        first = live.finished(live.train(dataset))["model_id"]
        ids = sorted(vectors_of(live, first))
        with another_api(live) as other, another_api(live) as third, Load([str(live.client.base_url), other, third], ids) as load:
            second = live.finished(live.train(dataset, seed=1))["model_id"]
            for model in (first, second, first, second):
                assert live.client.put(f"/datasets/{dataset}/model", json={"model_id": model}).status_code == 200
            known = {model: vectors_of(live, model) for model in (first, second)}
            files = {"file": ("new.png", image_bytes(900))}
            added = live.client.post(f"/datasets/{dataset}/images", files=files).json()["id"]
            assert live.finished(added)["status"] == "succeeded"
            for job in live.get("/jobs?kind=embed")["data"]:
                assert live.finished(job["id"])["status"] == "succeeded"
            new = next(iter(set(vectors_of(live, second)) - set(ids)))
            known[second][new] = vectors_of(live, second)[new]
            compaction = live.client.post(f"/datasets/{dataset}/compactions").json()["id"]
            assert live.finished(compaction)["status"] == "succeeded"
            assert live.client.delete(f"/images/{new}").status_code == 204
            gone, before = time.monotonic(), len(load.answers)
            wait_for(lambda: len(load.answers) > before + 50, "answers after the deletion", 30)
        assert load.failures == []
        assert {answer["model_id"] for _, _, answer in load.answers} == {first, second}
        for _, id_, answer in load.answers:
            vectors = known[answer["model_id"]]
            assert len(answer["neighbours"]) == 8
            for neighbour in answer["neighbours"]:
                expected = float(vectors[neighbour["image_id"]] @ vectors[id_])
                assert neighbour["score"] == pytest.approx(expected, abs=1e-5)
        late = [entry["image_id"] for asked, _, answer in load.answers if asked > gone for entry in answer["neighbours"]]
        assert late and new not in late
    finally:
        live.close()
