"""The HTTP contract, against a live system with a model that was really trained."""

import io
import json
import zipfile

import numpy as np
import pytest

from core.files import manifest
from tests.conftest import image_bytes, picture_zip
from tests.published import Published
from tests.service.answers import JSON, problem


def test_a_dataset_tells_what_was_kept(published: Published) -> None:
    body = published.live.get(f"/datasets/{published.dataset}")
    assert set(body) == {
        *("id", "name", "status", "images", "rejected", "duplicates", "classes"),
        *("bytes", "model_id", "created_at", "error", "metadata", "notices"),
    }
    assert (body["status"], body["images"], body["classes"], body["rejected"]) == ("ready", 32, 2, 0)
    assert body["model_id"] == published.job["model_id"]


def test_the_job_tells_how_it_went(published: Published) -> None:
    job = published.job
    assert set(job) == {
        *("id", "kind", "dataset_id", "evaluation_dataset_id", "status", "name", "params", "progress", "evaluation"),
        *("attempt", "error", "model_id", "created_at", "started_at", "finished_at", "estimated_finish", "metadata"),
        *("verdict", "continues", "continuation"),
    }
    assert job["estimated_finish"] is None
    assert set(job["progress"]) == {
        *("round", "rounds", "epoch", "epochs", "loss", "images_per_second", "anchors", "eta_seconds"),
        *("phase", "phase_fraction", "fraction", "told_at"),
    }
    assert [job["progress"][name] for name in ("phase", "phase_fraction", "fraction", "eta_seconds")] == ["evaluating", 1, 1, 0]
    assert "on 8 judged images" in job["verdict"]["sentence"]
    assert job["continuation"] == "more_rounds"
    judged = job["evaluation"]
    assert judged["held_out"]
    assert judged["queries"] == 8
    assert [entry["anchors"] for entry in judged["rounds"]] == [0.0, 0.5]


def test_events_as_pages_and_as_a_stream_are_the_same(published: Published) -> None:
    live, job = published.live, published.job["id"]
    events = live.events(job)
    types = [event["type"] for event in events]
    assert [kind for kind in types if kind != "warning"] == [
        *("queued", "running", "started", "epoch", "round", "epoch", "round"),
        *("exporting", "finished", "published", "evaluating", "succeeded"),
    ]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    first = live.get(f"/jobs/{job}/events?limit=4")
    rest = live.get(f"/jobs/{job}/events?after={first['next']}")
    assert first["data"] + rest["data"] == events
    assert rest["next"] is None
    stream = {"Accept": "text/event-stream"}
    text = live.client.get(f"/jobs/{job}/events", headers=stream).text
    assert [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")] == types
    resumed = live.client.get(f"/jobs/{job}/events", headers={**stream, "Last-Event-ID": "9"}).text
    assert resumed.startswith("id: 10\n")


def test_neighbours_are_the_exact_ones(published: Published) -> None:
    live = published.live
    images = live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"]
    folder = live.data_dir / "models" / f"{published.job['id']}-{published.job['attempt']}"
    vectors, ids = np.load(folder / "embeddings.npy"), np.load(folder / "ids.npy").tolist()
    for image in images[:5]:
        answer = live.get(f"/neighbours?image_id={image['id']}&k=6")
        assert answer["model_id"] == published.job["model_id"]
        scores = vectors @ vectors[ids.index(image["id"])]
        order = [ids[row] for row in np.argsort(-scores) if ids[row] != image["id"]][:6]
        assert [found["image_id"] for found in answer["neighbours"]] == order
        assert answer["neighbours"][0]["score"] == pytest.approx(scores[ids.index(order[0])], abs=1e-5)
        assert set(answer["neighbours"][0]) == {"image_id", "score", "path", "label"}


def test_k_beyond_the_collection_gives_the_collection(published: Published) -> None:
    image = published.live.get(f"/datasets/{published.dataset}/images?limit=1")["data"][0]["id"]
    assert len(published.live.get(f"/neighbours?image_id={image}&k=1000")["neighbours"]) == 31


def test_an_uploaded_image_finds_itself(published: Published) -> None:
    live = published.live
    image = live.get(f"/datasets/{published.dataset}/images?limit=3")["data"][2]
    file = live.client.get(f"/images/{image['id']}/file")
    assert file.headers["content-type"] == "image/png"
    assert file.headers["x-content-type-options"] == "nosniff"
    with zipfile.ZipFile(published.zip) as archive:
        assert file.content == archive.read(image["path"])
    found = live.client.post("/neighbours", files={"file": ("q.png", file.content)}, data={"k": "3"}).json()["neighbours"]
    assert len(found) == 3
    assert found[0]["image_id"] == image["id"]
    assert found[0]["score"] > 0.9999


def test_an_image_of_another_dataset_is_encoded_for_the_search(published: Published) -> None:
    image = published.live.get(f"/datasets/{published.held_out}/images?limit=1")["data"][0]["id"]
    answer = published.live.get(f"/neighbours?image_id={image}&dataset_id={published.dataset}&k=2")
    assert len(answer["neighbours"]) == 2
    assert answer["model_id"] == published.job["model_id"]


def test_classification_is_a_weighted_vote(published: Published) -> None:
    live = published.live
    data = image_bytes(501)
    body = live.client.post("/classify", files={"file": ("q.png", data)}, data={"k": "7", "temperature": "0.2"}).json()
    assert set(body) == {"model_id", "took_ms", "label", "confidence", "classes", "voters", "abstained"}
    votes: dict[str, float] = {}
    for voter in body["voters"]:
        votes[voter["label"]] = votes.get(voter["label"], 0.0) + float(np.exp(voter["score"] / 0.2))
    total = sum(votes.values())
    assert len(body["voters"]) == 7
    for entry in body["classes"]:
        assert entry["probability"] == pytest.approx(votes[entry["label"]] / total, rel=1e-3)
    assert body["label"] == max(votes, key=lambda label: votes[label])
    assert body["confidence"] == pytest.approx(max(votes.values()) / total, rel=1e-3)


def test_a_stored_image_does_not_vote_on_itself_and_may_stay_unknown(published: Published) -> None:
    image = published.live.get(f"/datasets/{published.dataset}/images?limit=1")["data"][0]["id"]
    body = published.live.get(f"/classify?image_id={image}&min_confidence=1")
    assert len(body["voters"]) == 31
    assert image not in [voter["image_id"] for voter in body["voters"]]
    assert body["label"] is None
    assert body["confidence"] < 1


def test_provenance_of_an_image(published: Published) -> None:
    live = published.live
    ids = [image["id"] for image in live.get(f"/datasets/{published.dataset}/images?limit=1000")["data"]]
    provenance = [live.get(f"/images/{id_}")["provenance"] for id_ in ids]
    assert all(len(entry["entropy"]) == 2 for entry in provenance)
    anchors = [entry for entry in provenance if entry["anchor_round"] == 1]
    assert len(anchors) == 16
    assert all(len(entry["neighbours"]) == 1 and entry["neighbours"][0] in ids for entry in anchors)
    held_out = live.get(f"/datasets/{published.held_out}/images?limit=1")["data"][0]["id"]
    assert live.get(f"/images/{held_out}")["provenance"] is None


def test_the_model_is_described_and_whole(published: Published) -> None:
    live = published.live
    body = live.get(f"/models/{published.job['model_id']}")
    folder = live.data_dir / "models" / f"{published.job['id']}-1"
    assert manifest.read(folder, hashes=True) == body["manifest"]
    assert set(body["manifest"]["files"]) == {
        *("encoder.onnx", "encoder.safetensors", "embeddings.npy", "ids.npy", "index.faiss"),
        *("neighbourhoods.npz", "projection.npy", "metrics.jsonl", "paths.npy"),
    }
    assert body["manifest"]["index"]["recall_at_10"] == 1.0
    assert None not in body["manifest"]["config"].values()


def test_lists_page_by_key(published: Published) -> None:
    live, seen, after = published.live, [], "0"
    while after is not None:
        page = live.get(f"/datasets/{published.dataset}/images?limit=10&after={after}")
        seen += [image["id"] for image in page["data"]]
        after = page["next"]
    assert len(seen) == len(set(seen)) == 32
    assert {published.dataset, published.held_out} <= {dataset["id"] for dataset in live.get("/datasets")["data"]}
    first = live.get("/jobs?limit=1")
    assert live.get(f"/jobs?after={first['next']}")["data"][0]["id"] != first["data"][0]["id"]


@pytest.mark.parametrize("content", [b"plain text", b"", b"\x89PNG\r\n\x1a\n" + bytes(600)])
def test_what_is_no_archive_is_refused_at_once(published: Published, content: bytes) -> None:
    response = published.live.client.post("/datasets", files={"file": ("x.zip", content)})
    assert "not a zip, tar or tar.gz" in problem(response, 422, "bad_archive")
    assert list((published.live.data_dir / "uploads").iterdir()) == []


def test_a_truncated_zip_fails_with_a_reason(published: Published) -> None:
    live = published.live
    data = published.zip.read_bytes()[:2000]
    published.zip.with_name("cut.zip").write_bytes(data)
    dataset = live.upload(published.zip.with_name("cut.zip"))
    body = live.get(f"/datasets/{dataset}")
    assert (body["status"], body["error"]["code"]) == ("failed", "bad_archive")
    assert list((live.data_dir / "uploads").iterdir()) == []
    assert "damaged" in body["error"]["message"]
    problem(live.client.post("/jobs", json={"dataset_id": dataset}), 409, "dataset_not_ready")


def test_refused_files_are_listed(published: Published) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", image_bytes(900))
        archive.writestr("b.jpg", b"text")
        archive.writestr("../../x.jpg", image_bytes(901))
        archive.writestr("copy.png", image_bytes(900))
    published.zip.with_name("bad.zip").write_bytes(file.getvalue())
    dataset = published.live.upload(published.zip.with_name("bad.zip"), labels="none")
    first = published.live.get(f"/datasets/{dataset}/rejections?limit=2")
    rest = published.live.get(f"/datasets/{dataset}/rejections?after={first['next']}")
    assert {row["path"]: row["code"] for row in first["data"] + rest["data"]} == {
        "b.jpg": "not_an_image",
        "../../x.jpg": "unsafe_path",
        "copy.png": "duplicate",
    }
    assert published.live.client.delete(f"/datasets/{dataset}").status_code == 204
    problem(published.live.client.get(f"/datasets/{dataset}"), 404, "dataset_not_found")
    assert not (published.live.data_dir / "datasets" / dataset).exists()


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code", "words"),
    [
        ("GET", "/datasets/ds_none", {}, 404, "dataset_not_found", "ds_none"),
        ("GET", "/jobs/job_none", {}, 404, "job_not_found", "job_none"),
        ("GET", "/jobs/job_none/events", {}, 404, "job_not_found", "job_none"),
        ("GET", "/models/mdl_none", {}, 404, "model_not_found", "mdl_none"),
        ("GET", "/images/999999", {}, 404, "image_not_found", "999999"),
        ("GET", "/images/cat", {}, 422, "bad_request", "path.image_id"),
        ("GET", "/neighbours", {}, 422, "bad_request", "image_id"),
        ("GET", "/neighbours?image_id=1&k=0", {}, 422, "bad_request", "greater than or equal to 1"),
        ("GET", "/neighbours?image_id=999999", {}, 404, "image_not_found", "999999"),
        ("GET", "/neighbours?image_id=1&dataset_id=ds_none", {}, 404, "dataset_not_found", "ds_none"),
        ("POST", "/neighbours", {"files": {"file": ("x.png", b"text")}}, 422, "bad_image", "not an image"),
        ("POST", "/classify", {"data": {"k": "3"}}, 422, "bad_request", "file"),
        ("POST", "/jobs", {"json": {}}, 422, "bad_request", "dataset_id"),
        ("POST", "/jobs", {"json": {"dataset_id": "ds_none"}}, 404, "dataset_not_found", "ds_none"),
        ("POST", "/jobs", {"json": {"dataset_id": "d", "params": {"rounds": 99}}}, 422, "bad_request", "20"),
        ("POST", "/jobs", {"json": {"dataset_id": "d", "params": {"raunds": 9}}}, 422, "bad_request", "raunds"),
        ("POST", "/jobs", {"content": b"{", "headers": JSON}, 422, "bad_request", "JSON"),
        ("POST", "/jobs", {"content": b"\x89PNG\xff", "headers": JSON}, 422, "bad_request", "not JSON"),
        ("POST", "/jobs", {"content": b"\x89PNG\xff"}, 422, "bad_request", "multipart/form-data"),
        ("POST", "/jobs", {"json": {"dataset_id": "d", "evaluation_dataset_id": "d"}}, 422, "bad_parameters", "each other"),
        ("POST", "/jobs", {"json": {"dataset_id": ""}}, 404, "dataset_not_found", "no dataset"),
        ("POST", "/jobs", {"json": {"dataset_id": "d", "name": "a\0b"}}, 422, "bad_request", "NUL"),
        ("POST", "/jobs", {"json": {"dataset_id": "d", "metadata": {"a": "\0"}}}, 422, "bad_request", "NUL"),
        ("GET", "/images/99999999999999999999", {}, 422, "bad_request", "less than or equal"),
        ("GET", "/neighbours?image_id=99999999999999999999", {}, 422, "bad_request", "less than or equal"),
        ("POST", "/jobs/job_none/cancel", {}, 404, "job_not_found", "job_none"),
        ("POST", "/datasets", {"data": {"name": "x"}}, 422, "bad_request", "multipart/form-data"),
        ("POST", "/datasets", {"json": {}}, 422, "bad_request", "uri"),
        ("POST", "/datasets", {"json": {"uri": "file:///etc"}}, 422, "bad_request", "ANCHORHOOD_IMPORT_ROOTS"),
        ("POST", "/datasets/ds_none/images", {"files": {"file": ("x.png", b"x")}}, 404, "dataset_not_found", "ds_none"),
        ("POST", "/datasets/ds_none/compactions", {}, 404, "dataset_not_found", "ds_none"),
        ("POST", "/datasets/ds_none/deletions", {"json": {"image_ids": [1]}}, 404, "dataset_not_found", "ds_none"),
        ("POST", "/datasets/ds_none/deletions", {"json": {"image_ids": []}}, 422, "bad_request", "at least 1 item"),
        ("DELETE", "/images/999999", {}, 404, "image_not_found", "999999"),
        ("POST", "/datasets", {"files": {"other": ("x", b"x")}}, 422, "bad_request", "file: is missing"),
        ("PUT", "/datasets", {}, 405, "http_405", "Method"),
        ("GET", "/nowhere", {}, 404, "http_404", "Not Found"),
        ("GET", "/healthz", {"headers": {"Host": "evil.example"}}, 403, "foreign_host", "evil.example"),
        ("GET", "/healthz", {"headers": {"Origin": "http://evil.example"}}, 403, "foreign_origin", "evil.example"),
    ],
)
def test_bad_requests_are_named(
    published: Published, method: str, path: str, options: dict[str, object], status: int, code: str, words: str
) -> None:
    assert words in problem(published.live.client.request(method, path, **options), status, code)  # type: ignore[arg-type]


def test_labels_mode_is_checked_and_nothing_is_kept(published: Published) -> None:
    files = {"file": ("x.zip", published.zip.read_bytes())}
    response = published.live.client.post("/datasets", files=files, data={"labels": "colours"})
    assert "none, folders" in problem(response, 422, "bad_request")
    assert list((published.live.data_dir / "uploads").iterdir()) == []


def test_a_finished_job_cannot_be_cancelled(published: Published) -> None:
    problem(published.live.client.post(f"/jobs/{published.job['id']}/cancel"), 409, "job_over")


def test_a_job_the_trainer_refuses_fails_with_its_words(published: Published) -> None:
    job = published.live.finished(published.live.train(published.dataset, device="cuda:31"))
    assert job["error"]["code"] == "bad_parameters"
    assert "GPUs found" in job["error"]["message"]


@pytest.mark.slow
def test_training_starts_from_an_earlier_model(published: Published) -> None:
    live = published.live
    unknown = live.client.post("/jobs", json={"dataset_id": published.dataset, "params": {"init": "mdl_00"}})
    assert "no model mdl_00" in problem(unknown, 422, "bad_parameters")
    other = live.upload(picture_zip(published.zip.with_name("other.zip"), 16, first=800))
    job = live.finished(live.train(other, init=published.job["model_id"], rounds=1))
    assert job["status"] == "succeeded", job
    assert live.get(f"/datasets/{other}")["model_id"] == job["model_id"]


def test_a_held_out_set_of_images_trained_on_is_refused_before_training(published: Published) -> None:
    copy = published.live.upload(published.zip)
    request = {"dataset_id": published.dataset, "evaluation_dataset_id": copy}
    problem(published.live.client.post("/jobs", json=request), 422, "bad_parameters")


def test_openapi_describes_every_route_with_an_example(published: Published) -> None:
    document = published.live.get("/openapi.json")
    assert {"/datasets", "/jobs", "/neighbours", "/classify", "/images/{image_id}/file", "/healthz"} <= set(document["paths"])
    assert "examples" in json.dumps(document)
    assert published.live.get("/readyz") == {"status": "ok", "missing": []}
