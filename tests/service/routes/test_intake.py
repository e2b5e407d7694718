"""What people send, by way of the API: reasons stay, names come through, any picture can be shown."""

import io
import re
import stat
import zipfile
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image as PilImage

from anchorhood import Client
from anchorhood.commands.console import refused_lines
from core.collections.admission import LISTED
from core.collections.intake import end_failed, ingest
from core.errors import BadArchive
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobStatus, Queue
from service.dispositions import file_name
from tests.conftest import image_bytes, write_zip
from tests.core.pictures import png, tiff
from tests.service.serving import serving

NO_MODEL = "name a dataset_id or a model_id (no dataset has a model)"
RAMP = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)


def validated(db: Database, settings: Settings) -> JobStatus:
    """Do what the worker does with the next upload."""
    owner = protocol.claim(db, Queue.TASKS, "test")
    assert owner is not None
    try:
        ingest(JobContext(db, settings, owner))
    except BadArchive as error:
        end_failed(JobContext(db, settings, owner), JobStatus.FAILED, {"code": error.code, "message": str(error)})
    with db.read() as session:
        return JobStatus(lifecycle.get(session, owner.job_id).status)


def upload(client: httpx.Client, data: bytes, labels: str = "none") -> str:
    answer = client.post("/datasets", files={"file": ("set.zip", data)}, data={"name": "set", "labels": labels})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def named(disposition: str, data: bytes) -> dict[str, object]:
    """The body of a form with one file, named by the end of its Content-Disposition."""
    head = f'--B\r\nContent-Disposition: form-data; name="file"{disposition}\r\nContent-Type: image/png\r\n\r\n'
    return {"content": head.encode() + data + b"\r\n--B--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


def test_reasons_of_a_failed_upload_and_of_a_failed_addition_stay(db: Database, settings: Settings, tmp_path: Path) -> None:
    with serving(settings, db) as client:
        bad = write_zip(tmp_path / "bad.zip", {"a.pdf": b"%PDF-1.7", "b.jpg": b"words"}).read_bytes()
        failed = upload(client, bad)
        assert validated(db, settings) == "failed"
        body = client.get(f"/datasets/{failed}").json()
        assert (body["status"], body["rejected"], body["images"]) == ("failed", 2, 0)
        rows = client.get(f"/datasets/{failed}/rejections").json()["data"]
        assert {row["path"]: row["code"] for row in rows} == {"a.pdf": "not_an_image", "b.jpg": "not_an_image"}
        assert "a PDF file; the formats read here are JPEG" in rows[0]["reason"]

        good = upload(client, write_zip(tmp_path / "good.zip", {"1.png": image_bytes(1)}).read_bytes())
        assert validated(db, settings) == "succeeded"
        added = client.post(f"/datasets/{good}/images", files={"file": ("cut.png", image_bytes(2)[:60])}).json()["id"]
        assert validated(db, settings) == "failed"
        client.post(f"/datasets/{good}/images", files={"file": ("2.png", image_bytes(2))})
        assert validated(db, settings) == "succeeded"  # which forgets what the failed one left
        (row,) = client.get(f"/datasets/{good}/rejections", params={"job_id": added}).json()["data"]
        assert (row["path"], row["job_id"]) == ("cut.png", added)
        assert client.get(f"/datasets/{good}/rejections", params={"job_id": failed}).json()["data"] == []
        body = client.get(f"/datasets/{good}").json()
        assert (body["images"], body["rejected"]) == (2, 1)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (f"; filename*=utf-8''{quote('猫.png')}", "猫.png"),
        (f"; filename*=UTF-8'ja'{quote('猫.png')}", "猫.png"),
        ("; filename*=iso-8859-1''caf%E9.png", "café.png"),
        (f"; filename=\"x.png\"; filename*=utf-8''{quote('猫.png')}", "猫.png"),
        ("; filename*0*=utf-8''caf%C3; filename*1*=%A9.png", "café.png"),
        ('; filename*0="a b"; filename*1=".png"', "a b.png"),
        ('; filename="猫.png"', "猫.png"),
        ("; filename=\"x.png\"; filename*=utf-9''%FF", "x.png"),
        ('; filename="a\\"b.png"', 'a"b.png'),
    ],
)
def test_names_in_any_form(disposition: str, name: str) -> None:
    assert file_name(f'form-data; name="file"{disposition}'.encode()) == name


def test_names_in_filename_star_alone(db: Database, settings: Settings, tmp_path: Path) -> None:
    with serving(settings, db) as client:
        star = f"; filename*=utf-8''{quote('猫 1.png')}"
        dataset = client.post("/datasets", **named(star, write_zip(tmp_path / "a.zip", {"1.png": image_bytes(1)}).read_bytes()))
        assert dataset.json()["name"] == "猫 1.png"
        id_ = dataset.json()["id"]
        assert validated(db, settings) == "succeeded"
        assert client.post(f"/datasets/{id_}/images", **named(star, image_bytes(2))).status_code == 202
        assert validated(db, settings) == "succeeded"
        assert {row["path"] for row in client.get(f"/datasets/{id_}/images").json()["data"]} == {"1.png", "猫 1.png"}
        for call in ("/neighbours", "/classify"):  # the file is found; there is no model to ask
            answer = client.post(call, **named(star, image_bytes(3)))
            assert (answer.status_code, answer.json()["detail"]) == (
                422,
                "name a dataset_id or a model_id (no dataset has a model)",
            )


def test_every_format_is_shown_to_every_browser(db: Database, settings: Settings, tmp_path: Path) -> None:
    files = {
        "cat/deep.tif": tiff(RAMP, pages=3),
        "cat/dark.png": png(RAMP // 8),
        "cat/plain.png": image_bytes(1),
        "dog/a.avif": _saved("AVIF"),
        ".hidden/b.png": image_bytes(5),
    }
    with serving(settings, db) as client:
        id_ = upload(client, write_zip(tmp_path / "all.zip", files).read_bytes(), "folders")
        assert validated(db, settings) == "succeeded"
        body = client.get(f"/datasets/{id_}").json()
        assert [(each["code"], each["count"]) for each in body["notices"]] == [("first_page_only", 2), ("hidden_files", 1)]
        assert "2 further pages of TIFF files" in body["notices"][0]["message"]
        rows = {row["path"]: row for row in client.get(f"/datasets/{id_}/images").json()["data"]}
        assert rows["cat/deep.tif"]["media_type"] == "image/tiff" and rows["dog/a.avif"]["media_type"] == "image/avif"
        brightest = {}
        for path, row in rows.items():
            answer = client.get(f"/images/{row['id']}/rendering")
            assert answer.headers["content-type"] == "image/webp"
            shown = PilImage.open(io.BytesIO(answer.content))
            assert shown.size == (row["width"], row["height"])
            brightest[path] = int(np.asarray(shown).max())
        assert brightest["cat/deep.tif"] > 240
        assert 24 <= brightest["cat/dark.png"] <= 42  # an eighth: on the scale of the dataset, not its own
        later = client.post(f"/datasets/{id_}/images", files={"file": ("darker.png", png(RAMP // 16))})
        assert later.status_code == 202 and validated(db, settings) == "succeeded"
        (row,) = [row for row in client.get(f"/datasets/{id_}/images").json()["data"] if row["path"] == "darker.png"]
        shown = PilImage.open(io.BytesIO(client.get(f"/images/{row['id']}/thumbnail").content))
        assert 10 <= int(np.asarray(shown).max()) <= 26


def test_formats_are_told_and_one_image_of_each_kind_is_taken(db: Database, settings: Settings, tmp_path: Path) -> None:
    with serving(settings, db) as client:
        told = client.get("/formats").json()
        assert {"JPEG", "PNG", "TIFF", "AVIF", "HEIC"} <= {each["name"] for each in told["formats"]}
        assert re.search(told["ignored"], ".ipynb_checkpoints/a.png") and not re.search(told["ignored"], "a/b.png")
        id_ = upload(client, write_zip(tmp_path / "a.zip", {"1.png": image_bytes(1)}).read_bytes())
        assert validated(db, settings) == "succeeded"
        big = _saved("TIFF", big_tiff=True)
        assert big[2] == 43
        assert client.post(f"/datasets/{id_}/images", files={"file": ("big.tif", big)}).status_code == 202
        assert validated(db, settings) == "succeeded"
        for format in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "AVIF"):
            file = image_bytes(10, format=format)
            assert client.post(f"/datasets/{id_}/images", files={"file": (f"{format}.x", file)}).status_code == 202, format
        refused = client.post(f"/datasets/{id_}/images", files={"file": ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(600))})
        assert refused.status_code == 422
        assert "a JPEG 2000 image; image formats read here: JPEG, PNG" in refused.json()["detail"]


def test_filters_by_a_label_that_looks_the_same(db: Database, settings: Settings, tmp_path: Path) -> None:
    with serving(settings, db) as client:
        files = {"e\u0301te\u0301/1.png": image_bytes(1), " été/2.png": image_bytes(2), "b/3.png": image_bytes(3)}
        id_ = upload(client, write_zip(tmp_path / "a.zip", files).read_bytes(), "folders")
        assert validated(db, settings) == "succeeded"
        found = client.get(f"/datasets/{id_}/images", params={"label": "e\u0301te\u0301 "}).json()["data"]
        assert [row["label"] for row in found] == ["été", "été"]


def _saved(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    PilImage.open(io.BytesIO(image_bytes(7, side=24))).save(file, format, **options)
    return file.getvalue()


def test_of_many_refused_files_the_first_are_listed_and_all_are_counted(db: Database, settings: Settings, tmp_path: Path) -> None:
    links, more = {f"{number:05}.png": b"" for number in range(LISTED + 70)}, {"../a.png": b"", "../b.png": b""}
    with serving(settings, db) as client:
        good = {"good.png": image_bytes(1)}
        archive = tmp_path / "many.zip"
        write_zip(archive, {**good, **more})
        with zipfile.ZipFile(archive, "a") as opened:
            for name in links:
                info = zipfile.ZipInfo(name)
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                opened.writestr(info, b"")
        for data, status in ((archive.read_bytes(), "succeeded"), (_without(archive, "good.png"), "failed")):
            dataset = upload(client, data)
            assert validated(db, settings) == status
            rejections = f"/datasets/{dataset}/rejections"
            page = client.get(rejections, params={"limit": 1000}).json()
            (job,) = (row["id"] for row in client.get("/jobs", params={"dataset_id": dataset, "kind": "ingest"}).json()["data"])
            assert page["more"] == [{"job_id": job, "code": "link", "count": 70}]
            with Client(str(client.base_url)) as python:
                unlisted = python.datasets.unlisted_rejections(dataset, job=job)
            assert refused_lines([], unlisted) == ["  and 70 more of this reason (link)"]
            codes = Counter(row["code"] for row in page["data"])
            while page["next"]:
                page = client.get(rejections, params={"limit": 1000, "after": page["next"]}).json()
                codes.update(row["code"] for row in page["data"])
            assert codes == {"link": LISTED, "unsafe_path": 2}
            assert client.get(f"/datasets/{dataset}").json()["rejected"] == LISTED + 72
            if status == "succeeded":  # a table may name any file of the upload, those that are only counted, too
                table = "path,label\ngood.png,cat\n00000.png,cat\n10069.png,cat\n"
                counts = client.put(f"/datasets/{dataset}/labels", content=table, headers={"Content-Type": "text/csv"}).json()
                assert counts == {"set": 1, "removed": 0, "ignored": 2}


def _without(archive: Path, name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(file, "w") as target:
        for info in source.infolist():
            if info.filename != name:
                target.writestr(info, source.read(info))
    return file.getvalue()
