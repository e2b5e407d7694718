"""Photographs through the product: a live server, an upload, a job from pretrained weights, and the first answered search."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.server import Embedded

_ASK_SECONDS = 0.25
_LONGEST = 2 * 3600.0


def run(images: Path, held_out: Path | None, labels: str, params: dict[str, Any], work: Path, port: int) -> dict[str, Any]:
    """One job on a server of its own.

    Args:
        images: a zip to upload.
        held_out: a zip of images to judge on; they are uploaded before the clock starts.
        labels: where the images' labels are: ``folders`` or ``none``.
        params: the job's.
        work: folder for the server's data, which is deleted at the end.
        port: where it listens.

    Returns:
        ``seconds_to_search`` from the beginning of the upload to the first answered ``GET /neighbours``, ``seconds`` to the end
        of the job; ``evaluation``, the job's; ``knn``, ``map`` and ``few`` of what was published, ``None`` where nothing judged.
    """
    shutil.rmtree(work, ignore_errors=True)
    server = Embedded(work, port)
    try:
        with server.serve():
            judge = server.upload(held_out)[0] if held_out else None
            started = time.monotonic()
            dataset = server.upload(images, labels)[0]
            first = server.client.get(f"/datasets/{dataset}/images?limit=1").raise_for_status().json()["data"][0]["id"]
            request = {"dataset_id": dataset, "evaluation_dataset_id": judge, "params": params}
            accepted = server.client.post("/jobs", json=request)
            if accepted.status_code != 202:
                raise RuntimeError(f"POST /jobs: {accepted.status_code} {accepted.text}")
            job = accepted.json()["id"]
            found = _answered(server.client, job, f"/neighbours?k=10&image_id={first}")
            searchable = time.monotonic() - started
            evaluation = server.finished(job)["evaluation"] or {}
            ended = time.monotonic() - started
        if len(found["neighbours"]) != 10:
            raise RuntimeError(f"the search answered with {len(found['neighbours'])} neighbours")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    trained = evaluation.get("trained") or {}
    return {
        "seconds_to_search": round(searchable, 1),
        "seconds": round(ended, 1),
        "knn": evaluation.get("knn_accuracy"),
        "map": trained.get("mean_average_precision"),
        "few": trained.get("few_label"),
        "evaluation": evaluation,
    }


def _answered(client: httpx.Client, job: str, search: str) -> dict[str, Any]:
    """What the search answers as soon as it does."""
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        response = client.get(search)
        if response.status_code == 200:
            body: dict[str, Any] = response.json()
            return body
        body = client.get(f"/jobs/{job}").raise_for_status().json()
        if body["status"] in ("failed", "cancelled"):
            raise RuntimeError(f"{job}: {body['error']}")
        time.sleep(_ASK_SECONDS)
    raise TimeoutError(f"{search} was not answered within {_LONGEST:.0f} s")
