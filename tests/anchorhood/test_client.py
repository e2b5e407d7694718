"""The Python client: every method, against a live system with a model that was really trained."""

import inspect
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import pytest
from PIL import Image

import anchorhood
from anchorhood import ApiError, Client, JobFailed, Unreachable
from tests.conftest import image_bytes, picture_zip
from tests.live import TINY
from tests.published import Published

ROOT = Path(__file__).parents[2]
PARAMS = {name: value for name, value in TINY.items() if name != "preset"}


@pytest.fixture(scope="module")
def client(published: Published) -> Iterator[Client]:
    client = Client(str(published.live.client.base_url))
    yield client
    client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of two classes in folders, and a file that is no picture."""
    for number in range(6):
        path = tmp_path / "photos" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(5000 + number, 16))
    (tmp_path / "photos" / "readme.txt").write_text("no picture")
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_folder_is_uploaded_looked_at_labelled_and_deleted(client: Client, folder: Path) -> None:
    dataset = client.datasets.upload(folder, labels="folders", progress=True).wait()
    assert (dataset.status, dataset.name, dataset.images, dataset.classes, dataset.rejected) == ("ready", "photos", 6, 2, 1)
    assert dataset in list(client.datasets.list())
    assert client.datasets.get(dataset.id) == dataset
    assert [(one.path, one.code) for one in client.datasets.rejections(dataset)] == [("readme.txt", "not_an_image")]
    assert client.datasets.unlisted_rejections(dataset) == {}
    images = list(client.datasets.images(dataset))
    assert {(image.path, image.label) for image in images} == {(f"class-{i % 2}/{i}.png", f"class-{i % 2}") for i in range(6)}
    assert client.datasets.label(dataset, {images[0].id: "other", images[1].id: None}) == {"set": 1, "removed": 1, "ignored": 0}
    (folder.parent / "table.csv").write_bytes(f"path;label\r\n{images[2].path};other\r\n".encode("utf-16"))
    assert client.datasets.label_table(dataset, folder.parent / "table.csv") == {"set": 1, "removed": 0, "ignored": 0}
    assert [image.id for image in client.datasets.images(dataset, label="other")] == [images[0].id, images[2].id]
    assert [image.id for image in client.datasets.images(dataset, unlabelled=True)] == [images[1].id]
    (folder / "new.png").write_bytes(image_bytes(7000, 16))
    added = client.datasets.add(dataset, folder / "new.png").wait()
    assert added.kind == "ingest"
    assert client.datasets.get(dataset.id).images == 7
    assert client.image_file(images[3].id) == (folder / images[3].path).read_bytes()
    client.delete_image(images[3].id)
    with pytest.raises(ApiError, match=f"no image {images[3].id}") as missing:
        client.image(images[3].id)
    assert (missing.value.status, missing.value.code) == (404, "image_not_found")
    assert client.datasets.delete_images(dataset, [image.id for image in images[:2]]) == 2
    assert client.datasets.compact(dataset).wait().kind == "compact"
    assert client.datasets.get(dataset.id).images == 4
    client.datasets.delete(dataset)
    with pytest.raises(ApiError):
        client.datasets.get(dataset.id)
    told = [line.action for line in client.audit(object=dataset.id, order="oldest")]
    assert (told[0], told[-1]) == ("create_dataset", "delete_dataset") and told.count("change_labels") == 2


@pytest.mark.slow
def test_what_cannot_be_used_says_why(client: Client, tmp_path: Path) -> None:
    (tmp_path / "none.zip").write_bytes(b"no archive")
    with pytest.raises(ApiError, match="archive"):
        client.datasets.upload(tmp_path / "none.zip")
    with pytest.raises(FileNotFoundError):
        client.datasets.upload(tmp_path / "nothing")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    with pytest.raises(JobFailed, match="no usable image"):
        client.datasets.upload(tmp_path / "texts").wait()


@pytest.mark.slow
def test_a_job_is_created_followed_and_its_model_used(client: Client, tmp_path: Path) -> None:
    dataset = client.datasets.upload(picture_zip(tmp_path / "a.zip", 24, first=8000), labels="folders")
    judge = client.datasets.upload(picture_zip(tmp_path / "b.zip", 8, first=9000), labels="folders").wait()
    assert client.jobs.check(preset="quick", rounds=np.int64(2)) == {"preset": "quick", "rounds": 2}
    job = client.jobs.create(dataset, evaluation=judge, name="mine", metadata={"of": "me"}, preset="quick", **PARAMS)
    done = job.wait(progress=True)
    assert (done.status, done.name, done.metadata, done.over) == ("succeeded", "mine", {"of": "me"}, True)
    assert done.evaluation is not None and done.evaluation["held_out"]
    assert client.jobs.get(job.id) == client.jobs.follow(job.id) == done
    assert len(list(client.jobs.events(job))) == len(list(done.events()))
    assert [event.seq for event in done.events()][:3] == [1, 2, 3]
    assert [found.id for found in client.jobs.list(kind="train", dataset=dataset)] == [job.id]
    assert done.continuation == "more_rounds" and done.verdict is not None and "no evidence" in done.verdict["sentence"]
    again = client.jobs.continue_(done, add_rounds=1).wait()
    assert (again.continues, len(again.evaluation["rounds"])) == (job.id, len(done.evaluation["rounds"]) + 1)  # type: ignore[index]
    with pytest.raises(ApiError, match="add_rounds says how many"):
        client.jobs.continue_(done)
    assert {model.id for model in client.models.list(dataset)} == {done.model_id, again.model_id}
    assert client.models.current(dataset) == again.model_id
    assert again.model_id and done.model_id
    assert client.datasets.use_model(dataset, done.model_id).model_id == done.model_id
    manifest = client.models.get(done.model_id).manifest
    assert manifest is not None and manifest["job_id"] == job.id
    path = client.models.download(done.model_id, "ids.npy", tmp_path / "ids.npy")
    (tmp_path / "model").mkdir()
    assert {"manifest.json", "encoder.onnx", "ids.npy"} <= {
        file.name for file in client.models.download_all(done.model_id, tmp_path / "model")
    }
    assert len(np.load(path)) == 24
    with open(tmp_path / "all.csv", "wb") as file:
        client.models.export(done.model_id, file, "csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 25
    client.models.delete(again.model_id)
    assert [model.id for model in client.models.list(dataset)] == [done.model_id]
    classified = client.datasets.classify(dataset, k=5).wait()
    table = client.jobs.classifications(classified)
    assert client.jobs.classifications_csv(classified).startswith("image_id,path,label,predicted,confidence\r\n")
    assert len(table) == 24 and {row["predicted"] for row in table} <= {"class-0", "class-1"}


@pytest.mark.slow
def test_a_job_is_cancelled(client: Client, published: Published) -> None:
    job = client.jobs.create(published.dataset, preset="quick", **{**PARAMS, "epochs_first": 2000})
    assert client.jobs.cancel(job).status in ("cancelled", "running", "queued")
    with pytest.raises(JobFailed) as ended:
        job.wait()
    assert job.cancel().status == "cancelled"  # once more is fine
    assert ended.value.code == "cancelled"
    if client.jobs.get(job.id).continuation == "resume":
        assert client.jobs.cancel(client.jobs.continue_(job)).continues == job.id
    else:  # it had no checkpoint yet
        with pytest.raises(ApiError, match="checkpoint"):
            client.jobs.continue_(job)


@pytest.mark.slow
def test_searches_and_classes(client: Client, published: Published, tmp_path: Path) -> None:
    image = next(client.datasets.images(published.dataset))
    found = client.neighbours(image.id, k=4, dataset=published.dataset)
    assert len(found) == 4 and found.model_id == published.job["model_id"]
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)
    assert found[0].image_id != image.id
    assert "Neighbours(" in repr(found)
    data = client.image_file(image.id)
    (tmp_path / "query.png").write_bytes(data)
    by_file = client.neighbours(tmp_path / "query.png", k=1, dataset=published.dataset)
    assert by_file[0].image_id == image.id and by_file[0].score == pytest.approx(1, abs=1e-4)
    assert client.neighbours(data, k=1, dataset=published.dataset)[0] == by_file[0]
    everything = client.embeddings(published.dataset)
    assert everything.vectors.shape == (32, 8) and everything.vectors.dtype == np.float32
    assert set(everything.labels) == {"class-0", "class-1"} and len(set(everything.paths)) == 32
    row = int(np.flatnonzero(everything.ids == image.id)[0])
    assert client.neighbours(everything.vectors[row], k=1, model=found.model_id)[0].image_id == image.id
    examples = client.neighbours(positive=[image.id], negative=[found[3].image_id], k=3, dataset=published.dataset)
    assert image.id not in {n.image_id for n in examples}
    only = client.neighbours(image.id, k=32, dataset=published.dataset, label=["class-1"])
    assert {n.label for n in only} == {"class-1"}
    by_id, by_path = client.classify(image.id, dataset=published.dataset), client.classify(data, dataset=published.dataset)
    assert by_id.label in ("class-0", "class-1") and by_path.classes
    assert client.classify(image.id, min_confidence=1.0, dataset=published.dataset, k=31).label is None
    judged = client.datasets.leave_one_out(published.dataset, k=5)
    assert judged.judged == sum(one["judged"] for one in judged.classes) == 32
    assert sum(one["right"] for one in judged.classes) + sum(one["count"] for one in judged.confusions) == 32
    assert client.image(image.id).provenance
    map_ = client.models.map(found.model_id)
    assert (map_.places.shape, map_.entropy.shape, set(map_.labels)) == ((32, 2), (2, 32), {"class-0", "class-1"})
    assert map_.ids.tolist() == everything.ids.tolist() and map_.labels.tolist() == everything.labels.tolist()
    with pytest.raises(ValueError, match="exactly one"):
        client.neighbours()
    with pytest.raises(ApiError, match="k"):
        client.neighbours(image.id, k=100_000)


def test_an_absent_service_is_named() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        client.datasets.upload(ROOT / "README.md")


@pytest.mark.parametrize(
    ("named", "pauses"),
    [
        ("3", [3, 3, 3]),
        ("0", [0.5, 1, 2]),
        ("100000", [60, 60, 60]),
        ("Sat, 28 Nov 2026 19:00:00 GMT", [0.5, 1, 2]),
        ("\u0663", [0.5, 1, 2]),  # a digit, but not HTTP's
    ],
)
def test_a_service_that_names_a_time_is_asked_again_then(
    named: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)

    def answer(request: httpx.Request) -> httpx.Response:
        refusal = {"code": "too_many_requests", "detail": "too many"}
        return httpx.Response(429, headers=[(b"Retry-After", named.encode())], json=refusal)

    client = Client("http://service")
    client.transport.http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    with pytest.raises(ApiError, match="too many"):
        list(client.datasets.list())
    assert waited == pauses


def test_what_is_safe_is_tried_again_and_nothing_else() -> None:
    """A server that says 503 twice before each answer."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.headers.get('idempotency-key', '')}")
        if len(asked) < 3:
            return httpx.Response(503, json={"code": "database_unavailable", "detail": "away"})
        return httpx.Response(200, json={"data": [], "next": None})

    client = Client("http://service")
    client.transport.http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    assert list(client.datasets.list()) == []
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(TypeError):  # that body is no job's
        client.jobs.create("ds_1")
    assert len(asked) == 3 and len(set(asked)) == 1 and len(asked[0]) > 10  # one key for all tries
    asked.clear()
    with pytest.raises(ApiError, match="away"):
        client.datasets.upload(ROOT / "README.md")
    assert len(asked) == 1


def test_following_survives_a_broken_stream() -> None:
    """The stream ends in the middle of the job; what follows is asked from the last event on."""
    seen: list[str | None] = []
    job = dict.fromkeys(anchorhood.Job.__dataclass_fields__) | {"id": "job_1", "created_at": "2026-01-01T00:00:00Z"}

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={**job, "status": "succeeded" if len(seen) == 2 else "running"})
        seen.append(request.headers.get("last-event-id"))
        event = {"config": {"epochs_first": 1, "epochs": 1, "rounds": 2}}
        text = f"id: {len(seen) * 5}\nevent: started\ndata: {json.dumps(event)}\n\n"
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    client = Client("http://service")
    client.transport.http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    assert client.jobs.follow("job_1", progress=True).status == "succeeded"
    assert seen == [None, "5"]


def test_a_dataset_is_changed() -> None:
    asked: list[tuple[str, str, bytes]] = []
    kept = dict.fromkeys(anchorhood.Dataset.__dataclass_fields__) | {"id": "ds_1", "created_at": "2026-01-01T00:00:00Z"}

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={**kept, **json.loads(request.content)})

    client = Client("http://service")
    client.transport.http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    assert client.datasets.update("ds_1", name="new").name == "new"
    assert client.datasets.update("ds_1", metadata={"numbers": np.arange(2)}).metadata == {"numbers": [0, 1]}
    assert [(method, path, json.loads(body)) for method, path, body in asked] == [
        ("PATCH", "/datasets/ds_1", {"name": "new"}),
        ("PATCH", "/datasets/ds_1", {"metadata": {"numbers": [0, 1]}}),
    ]


def test_every_public_method_is_documented_and_used_here() -> None:
    page, tests = (ROOT / "docs/python.md").read_text(), Path(__file__).read_text()
    client = Client()
    for owner, prefix in ((client, ""), (client.datasets, "datasets."), (client.jobs, "jobs."), (client.models, "models.")):
        for name, _ in inspect.getmembers(type(owner), inspect.isfunction):
            if not name.startswith("_") and name != "post":
                assert f"`{prefix}{name}" in page, f"docs/python.md lacks {prefix}{name}"
                assert re.search(rf"\b(client\.{prefix}|(job|done|dataset)\.){name}\(", tests), f"no test uses {prefix}{name}"


@pytest.mark.slow
def test_attention(client: Client, published: Published) -> None:
    image, model = next(client.datasets.images(published.dataset)).id, published.job["model_id"]
    with pytest.raises(ApiError) as refused:
        client.models.attention(model, image)
    assert refused.value.code == "attention_not_found"
    assert client.models.compute_attention(model, [image]).wait().kind == "attention"
    found = client.models.attention(model, image)
    assert (found.image_id, found.model_id, [one.round for one in found.rounds]) == (image, model, [0, 1])
    assert found.neighbour_id != image and all(-1 <= one.similarity <= 1 for one in found.rounds)
    pictures = [client.models.attention_map(model, image, round_) for round_ in (0, 1)]
    assert all(Image.open(io.BytesIO(picture)).size == (224, 224) for picture in pictures)
    assert pictures[0] != pictures[1]


@pytest.mark.slow
def test_clients_share_nothing(client: Client, published: Published) -> None:
    """Several threads with a client each."""
    found: list[int] = []

    def ask() -> None:
        with Client(str(published.live.client.base_url)) as own:
            found.append(len(list(own.datasets.images(published.dataset))))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [32] * 4
