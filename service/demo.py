"""``make demo``: the whole product on real images, through the public HTTP API alone."""

import io
import json
import os
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageDraw, ImageOps
from tqdm import tqdm

from core.processes import Child

DIGITS = {"crop_scale": [0.4, 1.0], "flip": False}  # half of a 6 is an 0, and a mirrored 2 is no digit
_SHOWN, _NEIGHBOURS, _SIDE = 8, 10, 64  # rows and columns of the contact sheet, pixels of an image in it
_PATIENCE, _STOP_PATIENCE = 120.0, 240.0  # seconds for the system to start and to stop


class DemoError(RuntimeError):
    """A step of the demo did not end as it should."""


def run(data: Path | None, held_out: Path | None, out: Path) -> None:
    """Upload, train, judge, search and classify; writes ``contact-sheet.png`` and prints one JSON object last."""
    out.mkdir(parents=True, exist_ok=True)
    params: dict[str, Any] = {}
    if data is None:
        print("Digits are the smoke test: raw pixels do about as well on them. CIFAR-10 is the point (see README).")
        data, held_out = write_digits(out)
        params = DIGITS
    with _system(out) as client:
        result = _Demo(client, out).run(data, held_out, params)
    print(json.dumps(result))


def write_digits(out: Path) -> tuple[Path, Path]:
    """scikit-learn's 1,797 handwritten digits (8 x 8) as two zips of PNG files, 80 % and 20 %."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    cut = len(order) * 4 // 5
    paths = out / "digits.zip", out / "digits-held-out.zip"
    for path, rows in zip(paths, (order[:cut], order[cut:]), strict=True):
        with zipfile.ZipFile(path, "w") as archive:
            for row in rows:
                file = io.BytesIO()
                Image.fromarray(np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)).save(file, "PNG")
                archive.writestr(f"{digits.target[row]}/{row:04}.png", file.getvalue())
    return paths


@contextmanager
def _system(out: Path) -> Iterator[httpx.Client]:
    """``anchorhood serve`` on a free port with a data folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "ANCHORHOOD_DATA_DIR": str(out / "data"), "ANCHORHOOD_HOST": "127.0.0.1", "ANCHORHOOD_PORT": str(port)}
    with open(out / "serve.log", "wb") as log:
        server = Child([sys.executable, "-m", "service.cli", "serve"], log, env)
    try:
        with httpx.Client(base_url=url, timeout=300) as client:
            deadline = time.monotonic() + _PATIENCE
            while not _alive(client):
                if server.process.poll() is not None or time.monotonic() > deadline:
                    raise DemoError(f"the system did not start; see {out / 'serve.log'}")
                time.sleep(0.2)
            yield client
    finally:
        server.terminate()
        server.end(_STOP_PATIENCE)
        server.close()


def _alive(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


class _Demo:
    def __init__(self, client: httpx.Client, out: Path) -> None:
        self._client, self._out = client, out

    def run(self, data: Path, held_out: Path | None, params: dict[str, Any]) -> dict[str, Any]:
        dataset = self._upload(data)
        evaluation = self._upload(held_out) if held_out else None
        job = self._train(dataset["id"], evaluation["id"] if evaluation else None, params)
        judged = job["evaluation"]
        self._print_accuracy(judged)
        query_dataset = evaluation or dataset
        queries = self._sample(query_dataset)
        rows = [(query, self._neighbours(query, dataset["id"])) for query in queries]
        sheet = self._contact_sheet(rows)
        self._classify(queries, dataset["id"])
        print(f"\nContact sheet: {sheet}")
        epochs = [e["data"] for e in self._events(job["id"]) if e["type"] == "epoch"]
        return {
            **{name: judged[name] for name in ("knn_accuracy", "untrained_accuracy", "raw_pixel_accuracy", "k")},
            "rounds": len(judged["rounds"]),
            **{name: judged[name] for name in ("anchors", "consistency")},
            "images_per_second": round(float(np.median([epoch["images_per_second"] for epoch in epochs])), 1),
            "train_seconds": round(_seconds(job), 1),
            "job_id": job["id"],
            "model_id": job["model_id"],
            "contact_sheet": str(sheet),
        }

    def _upload(self, path: Path) -> dict[str, Any]:
        with open(path, "rb") as file:
            form = {"name": path.name, "labels": "folders"}
            dataset: dict[str, Any] = _body(self._client.post("/datasets", data=form, files={"file": (path.name, file)}))
        while dataset["status"] == "validating":
            time.sleep(0.3)
            dataset = _body(self._client.get(f"/datasets/{dataset['id']}"))
        if dataset["status"] != "ready":
            raise DemoError(f"{path}: {dataset['error']['message']}")
        counts = ", ".join(f"{dataset[name]:,} {name}" for name in ("images", "classes", "rejected", "duplicates"))
        print(f"{path.name}: {counts}")
        return dataset

    def _train(self, dataset_id: str, evaluation_id: str | None, params: dict[str, Any]) -> dict[str, Any]:
        request = {"dataset_id": dataset_id, "evaluation_dataset_id": evaluation_id, "params": params, "name": "demo"}
        job: dict[str, Any] = _body(self._client.post("/jobs", json=request))
        stream = self._client.stream("GET", f"/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"})
        with stream as response, tqdm(desc="training", unit="epoch", mininterval=1) as bar:
            kind = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    _show(bar, kind, json.loads(line.removeprefix("data: ")))
        job = _body(self._client.get(f"/jobs/{job['id']}"))
        if job["status"] != "succeeded":
            raise DemoError(f"the job {job['status']}: {job['error']}")
        return job

    def _events(self, job_id: str) -> Iterator[dict[str, Any]]:
        after: str | None = "0"
        while after is not None:
            page = _body(self._client.get(f"/jobs/{job_id}/events", params={"after": after, "limit": 1000}))
            yield from page["data"]
            after = page["next"]

    @staticmethod
    def _print_accuracy(judged: dict[str, Any]) -> None:
        if judged["knn_accuracy"] is None:
            print("\nNo labels, so no accuracy: put the images into a folder for each class to get one.")
            return
        queries = "held-out images" if judged["held_out"] else "training images, each left out of its own vote"
        print(f"\nkNN accuracy, K {judged['k']}, on {judged['queries']:,} {queries}:")
        names = {"this embedding": "knn", "an untrained encoder": "untrained", "raw pixels": "raw_pixel"}
        for name, key in names.items():
            print(f"  {name:<22}{judged[f'{key}_accuracy']:7.1%}")
        print("\nOther measures:         linear classifier   mean average precision   recall@1")
        for name, key in {"this embedding": "trained", "an untrained encoder": "untrained", "raw pixels": "raw_pixels"}.items():
            found = judged[key]
            linear = "-" if found["linear_embedding"] is None else f"{found['linear_embedding']:.1%}"
            print(f"  {name:<22}{linear:>17}{found['mean_average_precision']:25.1%}{found['recall_at_1']:11.1%}")
        for warning in judged["warnings"]:
            print(f"warning: {warning}")
        print("\nround  anchors  accuracy  consistency of the neighbours")
        for entry in judged["rounds"]:
            same = "-" if entry["consistency"] is None else f"{entry['consistency']:.1%}"
            print(f"{entry['round']:5}  {entry['anchors']:7.1%}  {entry['knn_accuracy']:8.1%}  {same}")

    def _sample(self, dataset: dict[str, Any]) -> list[dict[str, Any]]:
        """Images spread evenly over a dataset."""
        first = _body(self._client.get(f"/datasets/{dataset['id']}/images", params={"limit": 1}))["data"][0]["id"]
        step = max(1, dataset["images"] // _SHOWN)
        after = [first - 1 + step * number for number in range(min(_SHOWN, dataset["images"]))]
        pages = [_body(self._client.get(f"/datasets/{dataset['id']}/images", params={"limit": 1, "after": a})) for a in after]
        return [page["data"][0] for page in pages if page["data"]]

    def _neighbours(self, query: dict[str, Any], dataset_id: str) -> list[dict[str, Any]]:
        wanted = {"image_id": query["id"], "k": _NEIGHBOURS, "dataset_id": dataset_id}
        found: list[dict[str, Any]] = _body(self._client.get("/neighbours", params=wanted))["neighbours"]
        names = ", ".join(f"{n['label'] or n['path']} {n['score']:.2f}" for n in found[:5])
        print(f"neighbours of {query['path']}: {names}")
        return found

    def _classify(self, queries: list[dict[str, Any]], dataset_id: str) -> None:
        print()
        for query in queries:
            files = {"file": (query["path"], self._file(query["id"]))}
            response = self._client.post("/classify", data={"dataset_id": dataset_id}, files=files)
            if response.status_code == 409:
                print("Nothing to classify by: no image has a label.")
                return
            answer = _body(response)
            print(f"classified {query['path']}: {answer['label']} ({answer['confidence']:.0%})")

    def _file(self, image_id: int) -> bytes:
        response = self._client.get(f"/images/{image_id}/file")
        response.raise_for_status()
        return response.content

    def _contact_sheet(self, rows: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> Path:
        """Queries on the left, their neighbours to the right; a frame is green for the query's class, red for another."""
        print()
        gap, wide = 6, _SIDE + 6
        sheet = Image.new("RGB", (wide * (_NEIGHBOURS + 1) + 4 * gap, wide * len(rows) + gap), "white")
        draw = ImageDraw.Draw(sheet)
        for y, (query, found) in enumerate(rows):
            top = gap + y * wide
            sheet.paste(self._thumbnail(query["id"]), (gap, top))
            for x, neighbour in enumerate(found, start=1):
                left = 3 * gap + x * wide
                known = query["label"] is not None and neighbour["label"] is not None
                colour = ("#2a9d4a" if query["label"] == neighbour["label"] else "#d62828") if known else "#888888"
                draw.rectangle((left - 3, top - 3, left + _SIDE + 2, top + _SIDE + 2), fill=colour)
                sheet.paste(self._thumbnail(neighbour["image_id"]), (left, top))
        path = self._out / "contact-sheet.png"
        sheet.save(path)
        return path

    def _thumbnail(self, image_id: int) -> Image.Image:
        image = Image.open(io.BytesIO(self._file(image_id))).convert("RGB")
        return ImageOps.pad(image, (_SIDE, _SIDE), color="white")


def _show(bar: "tqdm[Any]", kind: str, data: dict[str, Any]) -> None:
    if kind == "started":
        config = data["config"]
        bar.reset(config["epochs_first"] + (config["rounds"] - 1) * config["epochs"])
    elif kind == "epoch":
        speed = f"{data['images_per_second']:.0f} images/s"
        bar.set_postfix_str(f"round {data['round']} loss {data['loss']:.2f} anchors {data['anchors']:.0%} {speed}")
        bar.update()
    elif kind == "evaluating":
        bar.set_postfix_str("evaluating every round, an untrained encoder and raw pixels")


def _seconds(job: dict[str, Any]) -> float:
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()


def _body(response: httpx.Response) -> Any:
    if response.is_error:
        raise DemoError(f"{response.request.method} {response.request.url.path}: {response.text}")
    return response.json()
