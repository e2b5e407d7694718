"""``make demo``: the whole product on real images, through the public HTTP API alone."""

import io
import itertools
import os
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageDraw, ImageOps

from anchorhood import Client, Dataset, Neighbours
from anchorhood import Image as Stored
from anchorhood.commands.console import say
from anchorhood.commands.evaluation import accuracy_lines
from core.errors import DomainError
from core.ground import finite
from core.ground.processes import Child
from core.ground.verdict import few_label

DIGITS = {"crop_scale": [0.4, 1.0], "flip": False}  # half of a 6 is an 0, and a mirrored 2 is no digit
DIGITS_FROM_NOTHING = {**DIGITS, "epochs_first": 90}  # more give no better result (docs/decisions/0026)
_SHOWN, _NEIGHBOURS, _SIDE = 8, 10, 96  # rows and columns of the contact sheet, pixels of an image in it
_PATIENCE, _STOP_PATIENCE = 120.0, 240.0  # seconds for the system to start and to stop


class DemoError(DomainError):
    """A step of the demo did not end as it should."""


def run(data: Path | None, held_out: Path | None, out: Path, params: dict[str, Any]) -> None:
    """Upload, train with these parameters, judge, search and classify; writes ``contact-sheet.png`` and prints one JSON object
    last."""
    out.mkdir(parents=True, exist_ok=True)
    if data is None:
        say("Digits are the smoke test: raw pixels do about as well on them, and pretrained weights worse.")
        say("Photographs are the point: DATA=photos.zip PRETRAINED=1 make demo (see README).")
        data, held_out = write_digits(out)
        params = {**(DIGITS if "init" in params else DIGITS_FROM_NOTHING), **params}
    with _system(out) as client:
        result = _Demo(client, out).run(data, held_out, params)
    say(finite.dumps(result))


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
def _system(out: Path) -> Iterator[Client]:
    """``anchorhood serve`` on a free port with a data folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "ANCHORHOOD_DATA_DIR": str(out / "data"), "ANCHORHOOD_HOST": "127.0.0.1", "ANCHORHOOD_PORT": str(port)}
    with open(out / "serve.log", "wb") as log:
        server = Child([sys.executable, "-m", "anchorhood", "serve"], log, env)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _alive(url):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the system did not start; see {out / 'serve.log'}")
            time.sleep(0.2)
        with Client(url) as client:
            yield client
    finally:
        server.terminate()
        server.wait_or_kill(_STOP_PATIENCE)
        server.close()


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200  # through no proxy: it is this machine
    except httpx.TransportError:
        return False


class _Demo:
    def __init__(self, client: Client, out: Path) -> None:
        self._client, self._out = client, out

    def run(self, data: Path, held_out: Path | None, params: dict[str, Any]) -> dict[str, Any]:
        dataset = self._upload(data)
        evaluation = self._upload(held_out) if held_out else None
        job = self._client.jobs.create(dataset, evaluation=evaluation, name="demo", **params).wait(progress=True)
        assert job.evaluation and job.started_at and job.finished_at
        judged = job.evaluation
        self._print_accuracy(judged)
        if job.verdict:
            say("", f"verdict: {job.verdict['sentence']}")
        queries = self._sample(evaluation or dataset)
        rows = [(query, self._neighbours(query, dataset)) for query in queries]
        sheet = self._contact_sheet(rows)
        self._classify(queries, dataset)
        say("", f"Contact sheet: {sheet}")
        epochs = [event.data for event in job.events() if event.type == "epoch"]
        figures = judged["trained"] or {}
        return {
            "few_label": {entry["labels"]: round(entry["mean"], 4) for entry in figures.get("few_label", [])},
            "mean_average_precision": figures.get("mean_average_precision"),
            **{
                name: judged[name]
                for name in ("knn_accuracy", "frozen_accuracy", "untrained_accuracy", "raw_pixel_accuracy", "k")
            },
            **{name: judged[name] for name in ("published_round", "chosen_by")},
            "rounds": len(judged["rounds"]),
            **{name: judged[name] for name in ("anchors", "consistency")},
            "images_per_second": round(float(np.median([epoch["images_per_second"] for epoch in epochs])), 1) if epochs else None,
            "train_seconds": round((job.finished_at - job.started_at).total_seconds(), 1),
            "job_id": job.id,
            "model_id": job.model_id,
            "contact_sheet": str(sheet),
        }

    def _upload(self, path: Path) -> Dataset:
        dataset = self._client.datasets.upload(path, labels="folders").wait()
        counts = ", ".join(f"{getattr(dataset, name):,} {name}" for name in ("images", "classes", "rejected", "duplicates"))
        say(f"{path.name}: {counts}")
        return dataset

    @staticmethod
    def _print_accuracy(judged: dict[str, Any]) -> None:
        if judged["knn_accuracy"] is None:
            say("", "No labels, so no accuracy: put the images into a folder for each class to get one.")
            return
        say("", *accuracy_lines(judged))
        for warning in judged["warnings"]:
            say(f"warning: {warning}")
        say("", "round  anchors  5 labels    kNN  consistency of the neighbours")
        for entry in judged["rounds"]:
            few = _percent(figure["mean"] if (figure := few_label(entry)) else None)
            knn, consistency = _percent(entry["knn_accuracy"]), _percent(entry["consistency"])
            say(f"{entry['round']:5}  {entry['anchors']:7.1%}  {few:>8}  {knn:>5}  {consistency}")

    def _sample(self, dataset: Dataset) -> list[Stored]:
        """Images spread evenly over a dataset."""
        step = max(1, dataset.images // _SHOWN)
        return list(itertools.islice(self._client.datasets.images(dataset), 0, step * _SHOWN, step))

    def _neighbours(self, query: Stored, dataset: Dataset) -> Neighbours:
        neighbours = self._client.neighbours(query.id, _NEIGHBOURS, dataset=dataset)
        names = ", ".join(f"{n.label or n.path} {n.score:.2f}" for n in neighbours[:5])
        say(f"neighbours of {query.path}: {names}")
        return neighbours

    def _classify(self, queries: list[Stored], dataset: Dataset) -> None:
        say("")
        for query in queries:
            answer = self._client.classify(self._client.image_file(query.id), dataset=dataset)
            if answer.abstained:
                say(f"Nothing is classified: a vote {answer.abstained}.")
                return
            say(f"classified {query.path}: {answer.label} ({answer.confidence:.0%})")

    def _contact_sheet(self, rows: list[tuple[Stored, Neighbours]]) -> Path:
        """Queries on the left, their neighbours to the right; a frame is green for the query's class, red for another."""
        say("")
        gap, wide = 6, _SIDE + 6
        sheet = Image.new("RGB", (wide * (_NEIGHBOURS + 1) + 4 * gap, wide * len(rows) + gap), "white")
        draw = ImageDraw.Draw(sheet)
        for y, (query, neighbours) in enumerate(rows):
            top = gap + y * wide
            sheet.paste(self._thumbnail(query.id), (gap, top))
            for x, neighbour in enumerate(neighbours, start=1):
                left = 3 * gap + x * wide
                known = query.label is not None and neighbour.label is not None
                colour = ("#2a9d4a" if query.label == neighbour.label else "#d62828") if known else "#888888"
                draw.rectangle((left - 3, top - 3, left + _SIDE + 2, top + _SIDE + 2), fill=colour)
                sheet.paste(self._thumbnail(neighbour.image_id), (left, top))
        path = self._out / "contact-sheet.png"
        sheet.save(path)
        return path

    def _thumbnail(self, image_id: int) -> Image.Image:
        image = Image.open(io.BytesIO(self._client.image_file(image_id))).convert("RGB")
        return ImageOps.pad(image, (_SIDE, _SIDE), color="white")
