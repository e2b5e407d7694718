"""Hostile files and requests over HTTP: what is served is what it was validated as, and no answer tells about the server."""

import gzip
import io
import os
import signal
import tarfile
import zipfile
from typing import Any

import httpx
import pytest
from PIL import Image

from core.collections import datasets
from core.jobs import lifecycle, protocol
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import Queue
from tests.conftest import image_bytes
from tests.published import Published
from tests.service.answers import problem
from tests.service.serving import ready_dataset, serving
from worker.tasks import perform

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def with_comment() -> bytes:
    file = io.BytesIO()
    Image.new("P", (4, 4)).save(file, "GIF", comment=b"*/=1;alert(1);" + HTML)
    return file.getvalue()


SERVED = {
    "x.html": (image_bytes(1), "image/png"),
    "x.svg": (image_bytes(2, format="JPEG"), "image/jpeg"),
    "x.js": (with_comment(), "image/gif"),
    "x.png": (image_bytes(3, format="WEBP"), "image/webp"),
    "page.php": (image_bytes(4, format="BMP"), "image/bmp"),
    "and-page.png": (image_bytes(5) + HTML, "image/png"),
    "and-archive.jpg": (image_bytes(6, format="JPEG") + zipped({"evil.html": HTML}), "image/jpeg"),
}
REFUSED = {
    "picture.svg": SVG,
    "picture.png": SVG,
    "packed.svgz": gzip.compress(SVG),
    "page.gif": HTML,
    "page.jpg": b"\xff\xd8\xff" + HTML,
    "page.webp": b"RIFF" + HTML,
    "print.pdf": b"%PDF-1.4\n",
    "print.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


def test_images_are_served_as_what_they_are(api: httpx.Client, settings: Settings, db: Database) -> None:
    files = {name: data for name, (data, _) in SERVED.items()} | REFUSED
    dataset = ready_dataset(db, settings, zipped(files))
    images = api.get(f"/datasets/{dataset}/images").json()["data"]
    assert {image["path"] for image in images} == set(SERVED)
    for image in images:
        data, kind = SERVED[image["path"]]
        for answer, expected in (
            (api.get(f"/images/{image['id']}/file"), kind),
            (api.get(f"/images/{image['id']}/file", headers={"Accept": "text/html"}), kind),
            (api.get(f"/images/{image['id']}/thumbnail"), "image/webp"),
        ):
            assert answer.status_code == 200
            assert answer.headers["content-type"] == expected
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.content == data or expected == "image/webp"
    rejections = api.get(f"/datasets/{dataset}/rejections").json()["data"]
    assert {row["path"] for row in rejections} == set(REFUSED)
    assert {row["code"] for row in rejections} == {"not_an_image", "nested_archive"}


@pytest.mark.parametrize("name", REFUSED)
def test_no_single_file_of_another_kind_is_taken(published: Published, name: str) -> None:
    live = published.live
    answer = live.client.post(f"/datasets/{published.dataset}/images", files={"file": (name, REFUSED[name])})
    if answer.status_code == 422:  # by its first bytes
        problem(answer, 422, "bad_archive")
    else:
        assert live.finished(answer.json()["id"])["error"]["code"] == "bad_archive"
    assert live.get(f"/datasets/{published.dataset}")["images"] == 32


def test_an_image_that_takes_too_long_is_one_problem_and_no_more(settings: Settings, db: Database) -> None:
    file = io.BytesIO()
    Image.new("1", (7900, 8000)).save(file, "PNG")
    dataset = ready_dataset(db, settings, zipped({"slow.png": file.getvalue(), "b.png": image_bytes(1)}))
    with serving(settings.model_copy(update={"decode_seconds": 0.05}), db) as api:
        slow, fast = (image["id"] for image in api.get(f"/datasets/{dataset}/images").json()["data"])
        detail = problem(api.get(f"/images/{slow}/thumbnail"), 422, "decoding_timeout")
        assert "more than 0.05 s" in detail
        assert api.get(f"/images/{fast}/thumbnail").status_code == 200
        assert api.get("/healthz").status_code == 200


def decoders(published: Published) -> list[int]:
    return [process for process, command in published.live.processes().items() if "core.untrusted.decoder" in command]


def test_a_query_outlives_its_decoder(published: Published) -> None:
    ask = {"files": {"file": ("x.png", image_bytes(0))}, "data": {"k": "3"}}
    before = published.live.client.post("/neighbours", **ask).json()["neighbours"]  # type: ignore[arg-type]
    assert decoders(published)
    for process in decoders(published):
        os.kill(process, signal.SIGKILL)
    answer = published.live.client.post("/neighbours", **ask)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["neighbours"]) == (200, before)


def raw_tar(name: str, **attributes: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo(name)
        for key, value in attributes.items():
            setattr(info, key, value)
        archive.addfile(info)
    return file.getvalue()


ARCHIVES = {
    "nothing.zip": b"PK\x05\x06" + bytes(18),
    "cut.zip": zipped({"a.png": image_bytes(1)})[:-30],
    "text.zip": zipped({"/etc/passwd": b"x", "../../x": b"y"}),
    "link.tar": raw_tar("x", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "device.tar": raw_tar("x", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "cut.tar.gz": gzip.compress(raw_tar("x"))[:40],
}


def test_no_answer_tells_about_the_server(published: Published) -> None:
    live = published.live
    texts: list[str] = []

    def ask(method: str, path: str, **request: Any) -> httpx.Response:
        answer = live.client.request(method, path, **request)
        assert answer.status_code >= 400, (path, answer.text)
        assert answer.status_code < 500, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        texts.append(answer.text)
        return answer

    for file in (
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        image_bytes(1, side=64)[:-60],
        SVG,
        HTML,
        bytes(5000),
        b"P6 9999999 9999999 255\n",
    ):
        for path in ("/neighbours", "/classify"):
            ask("POST", path, files={"file": ("../../x.png", file)})
    for body in (b"{", b"[" * 5000, b'{"uri": "file:///etc"}', b'{"uri": "/etc/passwd"}', b'{"uri": "file://host/x"}', b"\xff"):
        for path in ("/datasets", f"/datasets/{published.dataset}/images", "/jobs", "/neighbours"):
            ask("POST", path, content=body, headers={"Content-Type": "application/json"})
    model = published.job["model_id"]
    for name in ("..%2f..%2fanchorhood.sqlite3", "%2fetc%2fpasswd", "manifest.json%00", "." * 3000):
        ask("GET", f"/models/{model}/files/{name}")
    for path in ("/images/999999999/file", "/images/-1/thumbnail", "/images/1/thumbnail?size=1e9", "/datasets/../../etc/passwd"):
        ask("GET", path)
    ask("POST", "/datasets", content=b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})
    for name, data in ARCHIVES.items():
        answer = live.client.post("/datasets", files={"file": (name, data)})
        if answer.status_code == 202:
            id_ = answer.json()["id"]
            job = next(row for row in live.get("/jobs?kind=ingest&limit=1000")["data"] if row["dataset_id"] == id_)
            assert live.finished(job["id"])["status"] == "failed"
            texts += [
                live.client.get(path).text for path in (f"/jobs/{job['id']}", f"/datasets/{id_}", f"/datasets/{id_}/rejections")
            ]
        else:
            texts.append(answer.text)
    assert len(texts) > 60
    for text in texts:
        for word in (
            str(live.data_dir),
            str(live.data_dir.parent),
            "Traceback",
            "site-packages",
            ".py",
            os.path.expanduser("~/"),
        ):
            assert word not in text, text


def test_a_job_that_fails_for_an_unforeseen_reason_names_no_path(settings: Settings, db: Database) -> None:
    dataset_id = datasets.new_dataset_id()
    with db.write() as session:
        datasets.create(session, dataset_id, "lost", "none")
    owner = protocol.claim(db, Queue.TASKS, "w")
    assert owner is not None
    perform(db, settings, owner)  # its upload is gone
    with db.read() as session:
        error = lifecycle.get(session, owner.job_id).error
    assert error is not None
    assert error["code"] == "internal_error"
    assert "No such file" in error["message"] and str(settings.root) not in error["message"]
