"""Models and labels over HTTP, on a live system of their own: what is current, and what answers change."""

import csv
import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import Live
from tests.published import Published
from tests.service.answers import problem


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, str, list[str]]]:
    """A live system with a dataset that was trained on twice."""
    root = tmp_path_factory.mktemp("models")
    live = Live(root / "data").start()
    try:
        dataset = live.upload(picture_zip(root / "pictures.zip", 24), labels="none")
        models = [live.finished(live.train(dataset, rounds=1, seed=seed))["model_id"] for seed in (0, 1)]
        yield live, dataset, models
    finally:
        live.close()


@pytest.mark.slow
def test_the_current_model_moves_back_and_only_others_are_deleted(two_models: tuple[Live, str, list[str]]) -> None:
    live, dataset, (first, second) = two_models
    rows = live.get(f"/models?dataset_id={dataset}")["data"]
    assert {row["id"] for row in rows} == {first, second}
    page = live.get("/models?limit=1")
    assert live.get(f"/models?limit=1&after={page['next']}")["next"] is None
    image = live.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["id"]
    assert live.get(f"/neighbours?image_id={image}")["model_id"] == second
    back = live.client.put(f"/datasets/{dataset}/model", json={"model_id": first})
    assert back.json()["model_id"] == first
    assert live.get(f"/neighbours?image_id={image}")["model_id"] == first
    assert first in problem(live.client.delete(f"/models/{first}"), 409, "model_in_use")
    folder = live.data_dir / "models" / f"{live.get(f'/models/{second}')['job_id']}-1"
    assert folder.exists()
    assert live.client.delete(f"/models/{second}").status_code == 204
    assert not folder.exists()
    problem(live.client.get(f"/models/{second}"), 404, "model_not_found")
    problem(live.client.put(f"/datasets/{dataset}/model", json={"model_id": second}), 404, "model_not_found")
    assert live.get(f"/neighbours?image_id={image}")["model_id"] == first


def test_every_file_of_the_manifest_can_be_downloaded_and_no_other(published: Published) -> None:
    live, model = published.live, published.job["model_id"]
    files = live.get(f"/models/{model}")["manifest"]["files"]
    assert {"encoder.onnx", "embeddings.npy", "index.faiss"} <= set(files)
    for name, expected in files.items():
        data = live.client.get(f"/models/{model}/files/{name}").content
        assert hashlib.sha256(data).hexdigest() == expected["sha256"]
    assert np.load(io.BytesIO(live.client.get(f"/models/{model}/files/embeddings.npy").content)).shape == (32, 8)
    for name in ("nothing", "..%2f..%2fanchorhood.sqlite3", "%2e%2e"):
        assert live.client.get(f"/models/{model}/files/{name}").status_code == 404


def test_a_model_of_another_dataset_cannot_be_made_current(published: Published) -> None:
    live, model = published.live, published.job["model_id"]
    answer = live.client.put(f"/datasets/{published.held_out}/model", json={"model_id": model})
    assert "is not a model of" in problem(answer, 422, "bad_query")


def test_labels_given_later_decide_the_next_classification(published: Published, tmp_path: Path) -> None:
    live = published.live
    dataset = live.upload(write_zip(tmp_path / "flat.zip", {f"{i}.png": image_bytes(i) for i in range(20)}), labels="none")
    assert live.get(f"/datasets/{dataset}")["classes"] == 0
    table = "path,label\n" + "".join(f"{i}.png,{'low' if i < 10 else 'high'}\n" for i in range(20))
    done = live.client.put(f"/datasets/{dataset}/labels", content=table, headers={"Content-Type": "text/csv"})
    assert done.json() == {"set": 20, "removed": 0, "ignored": 0}
    assert live.get(f"/datasets/{dataset}")["classes"] == 2
    assert live.get(f"/datasets/{dataset}/images?limit=1")["data"][0]["label"] in ("low", "high")

    image = live.get(f"/datasets/{published.dataset}/images?limit=1")["data"][0]
    everything = live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"]
    try:
        renamed = [{"image_id": other["id"], "label": "renamed"} for other in everything]
        assert live.client.put(f"/datasets/{published.dataset}/labels", json=renamed).status_code == 200
        answer = live.get(f"/classify?image_id={image['id']}")
        assert (answer["label"], answer["classes"], answer["voters"]) == (None, [], [])
        assert answer["abstained"] == ("needs at least two classes with three labels each; so far there are: renamed 32")
    finally:
        before = [{"image_id": other["id"], "label": other["label"]} for other in everything]
        assert live.client.put(f"/datasets/{published.dataset}/labels", json=before).status_code == 200
    assert len(live.get(f"/classify?image_id={image['id']}")["classes"]) == 2


def test_bad_labels_are_refused_by_name(published: Published) -> None:
    def put(content: str, kind: str, dataset: str = published.dataset) -> httpx.Response:
        return published.live.client.put(f"/datasets/{dataset}/labels", content=content, headers={"Content-Type": kind})

    assert "text/plain is not text/csv" in problem(put("x", "text/plain"), 422, "bad_labels")
    assert "no.png" in problem(put('{"no.png": "a"}', "application/json; charset=utf-8"), 422, "bad_labels")
    problem(put('{"no.png": "a"}', "application/json", "ds_none"), 404, "dataset_not_found")


def test_thumbnails_are_small_and_upright(published: Published, tmp_path: Path) -> None:
    live = published.live
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    Image.open(io.BytesIO(image_bytes(1, size=(60, 40)))).save(file, "JPEG", exif=exif)
    dataset = live.upload(write_zip(tmp_path / "turned.zip", {"turned.jpg": file.getvalue()}))
    image = live.get(f"/datasets/{dataset}/images")["data"][0]
    answer = live.client.get(f"/images/{image['id']}/thumbnail?size=30")
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.size == (20, 30)
    with Image.open(io.BytesIO(live.client.get(f"/images/{image['id']}/thumbnail?size=512").content)) as whole:
        assert whole.size == (40, 60)
    problem(live.client.get(f"/images/{image['id']}/thumbnail?size=9999"), 422, "bad_request")


def test_the_same_key_gives_the_same_job(published: Published) -> None:
    live = published.live
    request = {"dataset_id": published.dataset, "params": {"device": "cuda:99"}}
    key = {"Idempotency-Key": "once"}
    first = live.client.post("/jobs", json=request, headers=key)
    again = live.client.post("/jobs", json=request, headers=key)
    assert first.json()["id"] == again.json()["id"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    other = live.client.post("/jobs", json={**request, "name": "other"}, headers=key)
    assert "with another request" in problem(other, 409, "idempotency_key_reused")
    live.client.post(f"/jobs/{first.json()['id']}/cancel")
    live.finished(first.json()["id"])


def test_metrics_of_every_epoch_thinned_on_demand(published: Published) -> None:
    live, job = published.live, published.job["id"]
    rows = live.get(f"/jobs/{job}/metrics")["data"]
    assert [(row["round"], row["epoch"]) for row in rows] == [(0, 0), (1, 0)]
    assert set(rows[0]) == {"round", "epoch", "loss", "learning_rate", "images_per_second", "anchors"}
    assert live.get(f"/jobs/{job}/metrics?points=2")["data"] == rows
    problem(live.client.get("/jobs/job_none/metrics"), 404, "job_not_found")


def test_embeddings_are_exported_with_ids_paths_and_labels(published: Published) -> None:
    live, model = published.live, published.job["model_id"]
    images = live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"]
    stored = np.load(io.BytesIO(live.client.get(f"/models/{model}/embeddings").content))
    assert stored["ids"].tolist() == [image["id"] for image in images]
    assert stored["paths"].tolist() == [image["path"] for image in images]
    assert stored["labels"].tolist() == [image["label"] for image in images]
    assert np.allclose(np.linalg.norm(stored["embeddings"], axis=1), 1, atol=1e-5)
    table = list(csv.DictReader(io.StringIO(live.client.get(f"/models/{model}/embeddings?format=csv").text)))
    assert [row["path"] for row in table] == stored["paths"].tolist()
    assert np.allclose([[float(row[f"e{i}"]) for i in range(8)] for row in table], stored["embeddings"], atol=1e-6)
    assert not list((live.data_dir / "uploads").glob("*.npz"))
    problem(live.client.get(f"/models/{model}/embeddings?format=xls"), 422, "bad_request")


def test_the_ten_lines_of_the_documentation_run_on_the_encoder_alone(published: Published, tmp_path: Path) -> None:
    live, model = published.live, published.job["model_id"]
    image = live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"][9]
    (tmp_path / "encoder.onnx").write_bytes(live.client.get(f"/models/{model}/files/encoder.onnx").content)
    (tmp_path / "embeddings.npz").write_bytes(live.client.get(f"/models/{model}/embeddings").content)
    (tmp_path / "query.jpg").write_bytes(live.client.get(f"/images/{image['id']}/file").content)
    text = (Path(__file__).parents[3] / "docs/encoder.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"['{image['path']}'")
