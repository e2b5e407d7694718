"""Validation of uploads that lie, on SQLite and on PostgreSQL."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from sqlalchemy import select

from core.collections import datasets
from core.collections.intake import end_failed, ingest
from core.errors import BadArchive, DatasetInUse, DatasetNotFound, StaleAttempt, Stopped
from core.files.shards import read_range
from core.jobs import lifecycle, protocol
from core.jobs.context import JobContext
from core.jobs.protocol import Claim
from core.settings import Settings
from core.store.db import Database
from core.store.kinds import JobKind, JobStatus, Queue
from core.store.tables import Dataset, Image, Label, Rejection
from tests.conftest import image_bytes, write_zip
from tests.core.jobs.asked import Asked


def uploaded(db: Database, settings: Settings, data: bytes, labels: str = "none") -> tuple[str, Claim]:
    dataset_id = datasets.new_dataset_id()
    datasets.upload_path(settings, dataset_id).write_bytes(data)
    with db.write() as session:
        datasets.create(session, dataset_id, "test", labels, len(data))
    owner = protocol.claim(db, Queue.TASKS, "w")
    assert owner is not None
    return dataset_id, owner


def ingested(db: Database, settings: Settings, data: bytes, labels: str = "none") -> str:
    dataset_id, owner = uploaded(db, settings, data, labels)
    ingest(JobContext(db, settings, owner))
    return dataset_id


def zipped(files: dict[str, bytes], tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "made.zip", files).read_bytes()


def huge_png() -> bytes:
    file = io.BytesIO()
    PilImage.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


def hostile_zip(tmp_path: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good/one.png", image_bytes(1))
        archive.writestr("good/zwölf-日本.jpg", image_bytes(2, format="JPEG"))
        archive.writestr("text.jpg", b"this is not a picture")
        archive.writestr("cut.jpg", image_bytes(3, side=64, format="JPEG")[:-500])
        archive.writestr("huge.png", huge_png())
        archive.writestr("../../x.jpg", image_bytes(4))
        archive.writestr("/etc/x.jpg", image_bytes(5))
        archive.writestr("C:\\x.jpg", image_bytes(6))
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", zipped({"a.png": image_bytes(7)}, tmp_path))
        archive.mkdir("empty")
        archive.writestr("again/one.png", image_bytes(1))
        archive.writestr("__MACOSX/._one.png", b"junk")
    return file.getvalue()


EXPECTED = {
    "text.jpg": "not_an_image",
    "cut.jpg": "truncated",
    "huge.png": "too_many_pixels",
    "../../x.jpg": "unsafe_path",
    "/etc/x.jpg": "unsafe_path",
    "C:\\x.jpg": "unsafe_path",
    "link.jpg": "link",
    "inner.zip": "nested_archive",
    "empty/": "empty_folder",
    "again/one.png": "duplicate",
}


def test_a_hostile_zip_keeps_the_good_and_names_the_bad(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, hostile_zip(tmp_path))
    with db.read() as session:
        dataset = datasets.get(session, dataset_id)
        images = session.scalars(select(Image)).all()
        refused = {row.path: row.code for row in session.scalars(select(Rejection))}
        reasons = [row.reason for row in session.scalars(select(Rejection))]
    assert (dataset.status, dataset.images, dataset.rejected, dataset.duplicates) == ("ready", 2, 9, 1)
    assert {image.path for image in images} == {"good/one.png", "good/zwölf-日本.jpg"}
    assert refused == EXPECTED
    assert all(reasons)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and settings.root not in path.parents]
    assert outside == [tmp_path / "made.zip"]
    assert not datasets.upload_path(settings, dataset_id).exists()


def test_bytes_come_back_from_the_shards_and_other_tools_read_them(db: Database, settings: Settings, tmp_path: Path) -> None:
    files = {f"{i}.png": image_bytes(i) for i in range(5)}
    ingested(db, settings, zipped(files, tmp_path))
    with db.read() as session:
        rows = session.scalars(select(Image)).all()
    for row in rows:
        assert read_range(settings.root / row.shard, row.offset, row.length) == files[row.path]
        assert row.media_type == "image/png"
    with tarfile.open(settings.root / rows[0].shard) as shard:
        assert {name.partition(".")[0] for name in shard.getnames()} == {row.sha256 for row in rows}


def test_a_tar_gz_is_as_good_as_a_zip(db: Database, settings: Settings) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"c{number}/a.png")
            data = image_bytes(number)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind in (("device", tarfile.CHRTYPE), ("hard", tarfile.LNKTYPE), ("void", tarfile.DIRTYPE)):
            special = tarfile.TarInfo(name)
            special.type, special.linkname = kind, "c0/a.png"
            archive.addfile(special)
    dataset_id = ingested(db, settings, file.getvalue(), labels="folders")
    with db.read() as session:
        dataset = datasets.get(session, dataset_id)
        refused = {row.path: row.code for row in session.scalars(select(Rejection))}
        labels = sorted(session.scalars(select(Label.label)))
    assert (dataset.images, dataset.classes) == (3, 3)
    assert labels == ["c0", "c1", "c2"]
    assert refused == {"device": "special_file", "hard": "link", "void": "empty_folder"}


def test_labels_only_when_asked_for(db: Database, settings: Settings, tmp_path: Path) -> None:
    ingested(db, settings, zipped({"cat/a.png": image_bytes(1)}, tmp_path))
    with db.read() as session:
        assert session.scalars(select(Label)).all() == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 but no more than that", "damaged"),
        (b"\x1f\x8b and then nonsense", "damaged"),
        (b"plain text", "not a zip"),
    ],
)
def test_a_damaged_archive_fails_with_a_reason(db: Database, settings: Settings, data: bytes, message: str) -> None:
    _, owner = uploaded(db, settings, data)
    with pytest.raises(BadArchive, match=message):
        ingest(JobContext(db, settings, owner))


def test_an_archive_without_an_image_fails(db: Database, settings: Settings, tmp_path: Path) -> None:
    _, owner = uploaded(db, settings, zipped({"readme.txt": b"hello"}, tmp_path))
    with pytest.raises(BadArchive, match="no usable image among its 1 files"):
        ingest(JobContext(db, settings, owner))


def test_a_tar_of_the_folder_itself_has_the_right_labels(db: Database, settings: Settings) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        root = tarfile.TarInfo(".")
        root.type = tarfile.DIRTYPE
        archive.addfile(root)
        for number, name in enumerate(("./cat/a.png", "./dog/b.png")):
            info = tarfile.TarInfo(name)
            info.size = len(image_bytes(number))
            archive.addfile(info, io.BytesIO(image_bytes(number)))
    ingested(db, settings, file.getvalue(), labels="folders")
    with db.read() as session:
        assert sorted(session.scalars(select(Label.label))) == ["cat", "dog"]
        assert session.scalars(select(Rejection)).all() == []


def test_a_tar_damaged_in_the_middle_is_not_cut_short_in_silence(db: Database, settings: Settings) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(4):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(image_bytes(number))
            archive.addfile(info, io.BytesIO(image_bytes(number)))
        third = archive.getmembers()[2].offset
    data = bytearray(file.getvalue())
    data[third : third + 200] = b"\xff" * 200
    _, owner = uploaded(db, settings, bytes(data))
    with pytest.raises(BadArchive, match="damaged"):
        ingest(JobContext(db, settings, owner))


def test_odd_entries_cost_only_themselves(db: Database, settings: Settings) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good.png", image_bytes(1))
        archive.writestr("packed.png", image_bytes(2), zipfile.ZIP_BZIP2)
        archive.writestr("a/" * 500 + "deep.png", image_bytes(3))
        archive.writestr("x" * 5000 + ".png", image_bytes(4))
        archive.writestr("crc.png", image_bytes(5))
        start = archive.infolist()[-1].header_offset
    data = bytearray(file.getvalue())
    data[start + 60] ^= 0xFF
    ingested(db, settings, bytes(data))
    with db.read() as session:
        codes = sorted(session.scalars(select(Rejection.code)))
        assert session.scalars(select(Image.path)).all() == ["good.png"]
    assert codes == ["damaged", "unsafe_path", "unsafe_path", "unsupported_compression"]


def test_a_path_as_long_as_allowed(db: Database, settings: Settings, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0x4E00, 0x9FFF, 1000)  # PostgreSQL's ordered indexes take 2,700 bytes
    path = "".join(map(chr, numbers)) + ".png"
    ingested(db, settings, zipped({path: image_bytes(1)}, tmp_path))
    with db.read() as session:
        assert session.scalars(select(Image.path)).all() == [path]


def test_a_header_that_claims_a_name_of_gigabytes(db: Database, settings: Settings) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    _, owner = uploaded(db, settings, header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(BadArchive, match="extended header"):
        ingest(JobContext(db, settings, owner))


def test_limits_on_entries_and_bytes(db: Database, settings: Settings, tmp_path: Path) -> None:
    data = zipped({"a.png": image_bytes(1), "b.png": image_bytes(2, side=400, format="BMP")}, tmp_path)
    small = settings.model_copy(update={"max_image_bytes": 10_000})
    ingested(db, small, data)
    with db.read() as session:
        assert session.scalars(select(Rejection.code)).all() == ["too_large"]
    for limit, words in (("max_entries", "more than 1 entries"), ("max_unpacked_bytes", "more than 1 bytes unpacked")):
        _, owner = uploaded(db, settings, data)
        with pytest.raises(BadArchive, match=words):
            ingest(JobContext(db, settings.model_copy(update={limit: 1}), owner))
        end_failed(JobContext(db, settings, owner), JobStatus.FAILED, {"code": "bad_archive", "message": "limit"})


def test_a_second_attempt_leaves_nothing_of_the_first(db: Database, settings: Settings, tmp_path: Path) -> None:
    data = zipped({f"{i}.png": image_bytes(i) for i in range(4)}, tmp_path)
    dataset_id, first = uploaded(db, settings, data)
    with pytest.raises(Stopped):
        ingest(JobContext(db, settings, first, Asked(iter([False, False, True]).__next__)))
    protocol.abandon(db, first, "test")
    second = protocol.claim(db, Queue.TASKS, "w")
    assert second is not None
    with pytest.raises(StaleAttempt):
        ingest(JobContext(db, settings, first))
    ingest(JobContext(db, settings, second))
    with db.read() as session:
        assert len(session.scalars(select(Image)).all()) == 4
        assert session.get_one(Dataset, dataset_id).images == 4
    assert len(list((settings.root / "datasets" / dataset_id).iterdir())) == 1


def test_deleting(db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset_id = ingested(db, settings, zipped({"a.png": image_bytes(1)}, tmp_path))
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset_id).id
    with pytest.raises(DatasetInUse, match=job):
        datasets.remove(db, settings, dataset_id)
    with db.read() as session:
        assert datasets.get(session, dataset_id).status == "ready"
    with db.write() as session:
        lifecycle.request_cancel(session, job)
    datasets.remove(db, settings, dataset_id)
    assert not (settings.root / "datasets" / dataset_id).exists()
    with db.read() as session:
        assert session.scalars(select(Image)).all() == []
        with pytest.raises(DatasetNotFound):
            datasets.get(session, dataset_id)


def test_ids_are_never_used_again(db: Database, settings: Settings, tmp_path: Path) -> None:
    first = ingested(db, settings, zipped({"a.png": image_bytes(1)}, tmp_path))
    with db.read() as session:
        before = session.scalars(select(Image.id)).one()
    datasets.remove(db, settings, first)
    ingested(db, settings, zipped({"b.png": image_bytes(2)}, tmp_path))
    with db.read() as session:
        assert session.scalars(select(Image.id)).one() > before
        assert lifecycle.get(session, session.scalars(select(protocol.Job.id)).one()).status == JobStatus.SUCCEEDED
