"""Images that are added and deleted while the service runs: searchable and gone at once, without a rebuild or a restart."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.settings import Settings
from tests.conftest import image_bytes, picture_zip, write_zip
from tests.live import Live
from tests.service.answers import problem

pytestmark = pytest.mark.slow


class Changing:
    """A live system with one trained dataset of 24 images, and the folder that it may import from."""

    def __init__(self, root: Path) -> None:
        self.imports = root / "imports"
        self.imports.mkdir()
        self.live = Live(root / "data", import_roots=self.imports).start()
        self.dataset = self.live.upload(picture_zip(root / "pictures.zip", 24))
        job = self.live.finished(self.live.train(self.dataset))
        assert job["status"] == "succeeded", job
        self.model = job["model_id"]

    def add(self, name: str, data: bytes, **fields: str) -> dict[str, Any]:
        files = {"file": (name, data)}
        response = self.live.client.post(f"/datasets/{self.dataset}/images", files=files, data=fields)
        assert response.status_code == 202, response.text
        assert response.headers["Location"] == f"/jobs/{response.json()['id']}"
        return self.live.finished(response.json()["id"])

    def counts(self, job: dict[str, Any]) -> tuple[int, int, int]:
        assert job["status"] == "succeeded", job
        progress = job["progress"]
        return progress["images"], progress["rejected"], progress["duplicates"]

    def embedded(self) -> None:
        for job in self.live.get("/jobs?kind=embed&limit=1000")["data"]:
            assert self.live.finished(job["id"])["status"] == "succeeded"

    def images(self) -> dict[str, int]:
        return {image["path"]: image["id"] for image in self.live.get(f"/datasets/{self.dataset}/images?limit=1000")["data"]}

    def nearest(self, image_id: int, k: int = 50, **more: str) -> list[int]:
        query = "".join(f"&{name}={value}" for name, value in more.items())
        answer = self.live.get(f"/neighbours?image_id={image_id}&k={k}&dataset_id={self.dataset}{query}")
        return [neighbour["image_id"] for neighbour in answer["neighbours"]]

    def exported(self) -> dict[int, np.ndarray]:
        data = self.live.client.get(f"/models/{self.model}/embeddings").content
        with np.load(io.BytesIO(data)) as file:
            return dict(zip(file["ids"].tolist(), file["embeddings"], strict=True))

    def compact(self) -> None:
        job = self.live.client.post(f"/datasets/{self.dataset}/compactions").json()["id"]
        assert self.live.finished(job)["status"] == "succeeded"
        assert not (self.live.data_dir / "runs" / job).exists()

    def shards(self) -> int:
        return sum(path.stat().st_size for path in (self.live.data_dir / "datasets" / self.dataset).rglob("*.tar"))


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    made = Changing(tmp_path_factory.mktemp("changing"))
    try:
        yield made
    finally:
        made.live.close()


def test_added_images_answer_and_deleted_ones_do_not(changing: Changing, tmp_path: Path) -> None:
    live, before = changing.live, changing.images()
    files = {f"more/{i}.png": image_bytes(100 + i) for i in range(6)} | {"text.txt": b"no picture", "twice.png": image_bytes(0)}
    job = changing.add("more.zip", write_zip(tmp_path / "more.zip", files).read_bytes())
    assert changing.counts(job) == (6, 1, 1)
    single = changing.add("photo.png", image_bytes(200), path="more/single.png")
    assert single["status"] == "succeeded"
    changing.embedded()

    body = live.get(f"/datasets/{changing.dataset}")
    assert (body["status"], body["images"], body["rejected"], body["duplicates"], body["classes"]) == ("ready", 31, 1, 1, 3)
    assert body["model_id"] == changing.model
    images = changing.images()
    new = {path: id_ for path, id_ in images.items() if path not in before}
    assert sorted(new) == [*(f"more/{i}.png" for i in range(6)), "more/single.png"]
    vectors = changing.exported()
    assert sorted(vectors) == sorted(images.values())
    for id_ in new.values():
        expected = sorted((other for other in vectors if other != id_), key=lambda other: -float(vectors[other] @ vectors[id_]))
        found = changing.nearest(id_)
        assert len(found) == 30 and set(found) == set(expected)
        scores = [float(vectors[other] @ vectors[id_]) for other in found]
        assert scores == pytest.approx([float(vectors[other] @ vectors[id_]) for other in expected], abs=1e-5)
    assert set(changing.nearest(new["more/0.png"], path_prefix="more/")) == set(new.values()) - {new["more/0.png"]}
    assert live.get(f"/images/{new['more/0.png']}")["provenance"] is None
    uploaded = {"file": ("same.png", image_bytes(200))}
    answer = live.client.post("/neighbours", files=uploaded, data={"k": "1", "dataset_id": changing.dataset}).json()
    assert answer["neighbours"][0]["image_id"] == new["more/single.png"]
    assert answer["neighbours"][0]["score"] > 0.999

    gone = [before["class-0/0000.png"], new["more/0.png"]]
    assert live.client.delete(f"/images/{gone[0]}").status_code == 204
    response = live.client.post(f"/datasets/{changing.dataset}/deletions", json={"image_ids": [gone[1]]})
    assert response.json() == {"deleted": 1}
    problem(live.client.get(f"/images/{gone[0]}"), 404, "image_not_found")
    problem(live.client.get(f"/images/{gone[0]}/file"), 404, "image_not_found")
    kept = {path: id_ for path, id_ in images.items() if id_ not in gone}
    assert changing.images() == kept
    for id_ in kept.values():
        assert set(changing.nearest(id_)) == set(kept.values()) - {id_}
    response = live.client.post(f"/datasets/{changing.dataset}/deletions", json={"image_ids": [gone[0], id_]})
    assert "nothing was deleted" in problem(response, 422, "bad_query")
    assert live.get(f"/datasets/{changing.dataset}")["images"] == 29

    stored, files_before = changing.shards(), {id_: live.client.get(f"/images/{id_}/file").content for id_ in kept.values()}
    answers = {id_: changing.nearest(id_) for id_ in kept.values()}
    provenance = {id_: live.get(f"/images/{id_}")["provenance"] for id_ in kept.values()}
    changing.compact()
    assert changing.shards() < stored
    assert {id_: live.client.get(f"/images/{id_}/file").content for id_ in kept.values()} == files_before
    assert {id_: changing.nearest(id_) for id_ in kept.values()} == answers
    assert {id_: live.get(f"/images/{id_}")["provenance"] for id_ in kept.values()} == provenance
    manifest = live.get(f"/models/{changing.model}")["manifest"]
    assert manifest["images"] == 29 and manifest["index"]["recall_at_10"] == 1
    again = changing.add("again.png", image_bytes(0), path="again.png")
    assert again["progress"]["images"] == 1  # what was deleted may come back, under another id
    changing.embedded()
    assert changing.images()["again.png"] > max(images.values())
    live.stop()
    live.start()
    assert set(changing.nearest(changing.images()["again.png"])) == set(kept.values())


def test_a_new_model_and_an_old_one_know_what_was_added_between_them(changing: Changing, tmp_path: Path) -> None:
    live, before = changing.live, changing.images()
    changing.add("more.zip", picture_zip(tmp_path / "more.zip", 5, first=300).read_bytes().replace(b"class-", b"later-"))
    changing.embedded()
    job = live.finished(live.train(changing.dataset))
    everything = set(changing.images().values())
    assert len(everything) == len(before) + 5 == live.get(f"/models/{job['model_id']}")["images"]
    changing.add("last.png", image_bytes(400))
    changing.embedded()
    everything = set(changing.images().values())
    for model in (job["model_id"], changing.model, job["model_id"]):
        response = live.client.put(f"/datasets/{changing.dataset}/model", json={"model_id": model})
        assert response.status_code == 200, response.text
        changing.embedded()
        one = min(everything)
        assert set(changing.nearest(one)) == everything - {one}


def test_an_upload_that_cannot_be_added_leaves_the_dataset_as_it_was(changing: Changing, tmp_path: Path) -> None:
    live, before = changing.live, changing.images()
    figures = live.get(f"/datasets/{changing.dataset}")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(20):
            data = image_bytes(500 + number)
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    whole = file.getvalue()
    job = changing.add("cut.tar", whole[:9000] + b"\xff" * 600 + whole[9600:12_000])
    assert job["status"] == "failed" and job["error"]["code"] == "bad_archive"
    assert changing.images() == before
    assert live.get(f"/datasets/{changing.dataset}") == figures
    text = {"file": ("notes.txt", b"not an image, and no archive")}
    response = live.client.post(f"/datasets/{changing.dataset}/images", files=text)
    assert "not an image" in problem(response, 422, "bad_archive")
    damaged = changing.add("damaged.png", image_bytes(1)[:60])
    assert damaged["status"] == "failed" and "no usable image" in damaged["error"]["message"]
    assert list((live.data_dir / "uploads").iterdir()) == []
    assert set(changing.nearest(min(before.values()))) == set(before.values()) - {min(before.values())}


def test_folders_of_the_server(changing: Changing, tmp_path: Path) -> None:
    live = changing.live
    folder = changing.imports / "holiday photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(20):
        (folder / "sub" / f"{number}.png").write_bytes(image_bytes(600 + number))
    (folder / "link.png").symlink_to(folder / "sub" / "0.png")
    (folder / "notes.txt").write_text("no picture")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret.png").write_bytes(image_bytes(1))
    (folder / "away").symlink_to(secret)
    response = live.client.post("/datasets", json={"uri": folder.as_uri(), "labels": "folders"})
    assert response.status_code == 202, response.text
    assert response.json()["name"] == "holiday photos"
    (ingest,) = [job for job in live.get("/jobs?kind=ingest")["data"] if job["dataset_id"] == response.json()["id"]]
    assert live.finished(ingest["id"])["status"] == "succeeded"
    body = live.get(f"/datasets/{response.json()['id']}")
    assert (body["images"], body["rejected"], body["classes"]) == (20, 3, 1)
    refused = {row["path"]: row["code"] for row in live.get(f"/datasets/{body['id']}/rejections")["data"]}
    assert refused == {"away": "link", "link.png": "link", "notes.txt": "not_an_image"}
    assert (folder / "sub" / "0.png").exists()
    response = live.client.post(f"/datasets/{changing.dataset}/images", json={"uri": str(folder / "sub")})
    assert live.finished(response.json()["id"])["progress"]["images"] == 20
    for uri in (secret.as_uri(), f"{folder.as_uri()}/../../secret", f"{folder.as_uri()}/away", "/", "relative", "http://x/y"):
        problem(live.client.post("/datasets", json={"uri": uri}), 422, "bad_request")
    response = live.client.post("/datasets", json={"uri": (changing.imports / "none").as_uri()})
    assert "no such folder" in problem(response, 422, "bad_request")
    assert Settings().import_roots == ""
