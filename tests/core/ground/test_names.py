"""Names as people's tools write them, by every way in: letters are kept and names stay distinct."""

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from sqlalchemy import select

from core.ground import names
from core.ground.names import decode_names
from core.ground.pictures.formats import is_ignored, may_be_image
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Dataset, Image, Label, Rejection
from core.untrusted import archives
from core.untrusted.entries import IGNORED, Limits
from tests.conftest import image_bytes
from tests.core.collections.test_datasets import ingested
from trainer.data.sources import open_source

LIMITS = Limits(entries=1000, file_bytes=1 << 20, unpacked_bytes=1 << 30, ratio=1000)


def zipped(given: list[bytes], extra: list[bytes] | None = None) -> bytes:
    """A zip with names of these bytes and without the UTF-8 flag."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(given):
            info = zipfile.ZipInfo(f"{number:04}".ljust(len(name), "x"))
            info.extra = extra[number] if extra else b""
            archive.writestr(info, image_bytes(number))
    data = file.getvalue()
    for number, name in enumerate(given):
        data = data.replace(f"{number:04}".ljust(len(name), "x").encode(), name)
    return data


def tarred(given: list[bytes], format: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, errors="surrogateescape", encoding="utf-8") as archive:
        for number, name in enumerate(given):
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.size = len(image_bytes(number))
            archive.addfile(info, io.BytesIO(image_bytes(number)))
    return file.getvalue()


def both(tmp_path: Path, data: bytes) -> list[str]:
    """The paths that the service reads, which the trainer on its own reads, too."""
    path = tmp_path / "archive"
    path.write_bytes(data)
    found = [entry.path for entry in archives.entries(path, LIMITS) if not entry.code]
    assert sorted(image.path for image in open_source(path).images) == sorted(found)
    return found


@pytest.mark.parametrize(
    ("page", "written"),
    [
        ("cp932", ["猫/写真一.png", "猫/写真二.png", "犬/表示.png", "犬/ソ.png"]),
        ("cp932", ["新しいフォルダー/画像.png"]),
        ("gbk", ["猫/照片一.png", "狗/照片二.png"]),
        ("gbk", ["新建文件夹/图片1.jpg"]),
        ("cp950", ["貓/照片.png", "狗/圖.png"]),
        ("cp949", ["고양이/사진.png", "강아지/그림.png"]),
        ("cp1251", ["кошка/фото.png", "Собака/Новая папка.png"]),
        ("cp866", ["кошка/фото.png", "Собака/Новая папка.png"]),
        ("cp1252", ["café.png", "Müller/straße.png"]),
        ("cp437", ["café.png", "Müller/straße.png"]),
        ("cp852", ["kočka/příliš žluťoučký.png"]),
        ("cp1253", ["γάτα/σκύλος.png"]),
        ("utf-8", ["猫/写真.png", "Ünï/кот.png"]),
    ],
)
def test_zip_names_of_old_code_pages(tmp_path: Path, page: str, written: list[str]) -> None:
    assert both(tmp_path, zipped([name.encode(page) for name in written])) == written


def flagged(data: bytes, *signatures: bytes) -> bytes:
    """With the UTF-8 flag in the headers of these signatures, whatever the names are."""
    changed = bytearray(data)
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.find(signature) if signature in signatures else -1
        while place >= 0:
            changed[place + at + 1] |= 0x08
            place = data.find(signature, place + 4)
    return bytes(changed)


@pytest.mark.parametrize("signatures", [(b"PK\3\4", b"PK\1\2"), (b"PK\3\4",), (b"PK\1\2",)])
def test_zip_names_that_only_claim_to_be_utf8(tmp_path: Path, signatures: tuple[bytes, ...]) -> None:
    for page, written in (("cp932", ["猫/写真一.png", "犬/表示.png"]), ("cp1252", ["café.png"]), ("utf-8", ["猫/写真.png"])):
        data = flagged(zipped([name.encode(page) for name in written]), *signatures)
        assert both(tmp_path, data) == written
    mixed = ["été.png".encode(), "été.png".encode("cp1252"), b"plain.png"]
    assert both(tmp_path, flagged(zipped(mixed), *signatures))[-1] == "plain.png"
    assert len(set(both(tmp_path, flagged(zipped(mixed), *signatures)))) == 3


@pytest.mark.parametrize(
    ("page", "written"),
    [
        ("cp1255", ["חתול/תמונה.png", "כלב/חדש.png"]),
        ("cp1255", ["תיקייה חדשה/תמונה 1.jpg"]),
        ("cp1251", ["лес/море.png", "дом/стол.png"]),
        ("cp932", ["ﾃｽﾄ/ｶﾞｿﾞｳ1.png"]),
        ("cp862", ["חתול/תמונה.png", "כלב/חדש.png"]),
        ("cp857", ["kedi/şeker ağacı.png", "köpek/ışık.png"]),
        ("cp1254", ["kedi/şeker ağacı.png", "köpek/ışık.png"]),
        ("cp932", ["ﾈｺ/ｼｬｼﾝ.png", "ｲﾇ/ｶﾞｿﾞｳ.png"]),
        ("cp932", ["猫.png"]),
        ("cp1251", ["я.png"]),
        ("cp437", ["é.png"]),
        ("cp949", ["개.png"]),
        ("cp1256", ["قطة/صورة.png"]),
    ],
)
def test_names_that_say_little(tmp_path: Path, page: str, written: list[str]) -> None:
    assert both(tmp_path, zipped([name.encode(page) for name in written])) == written


def test_any_bytes_give_distinct_names() -> None:
    odd = [bytes([first, second]) for first in range(0x80, 0x100) for second in range(0x80, 0x100, 7)]
    assert len(set(decode_names(odd))) == len(odd)
    controls = [names.clean(f"a{chr(each)}") for each in range(1, 32)]
    assert len(set(controls)) == len(controls)


def test_the_unicode_path_field(tmp_path: Path) -> None:
    raw = b"__.png"
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + "猫.png".encode()
    stale = struct.pack("<BI", 1, 12345) + "犬.png".encode()
    extra = [struct.pack("<HH", 0x7075, len(each)) + each for each in (field, stale)]
    assert both(tmp_path, zipped([raw], extra[:1])) == ["猫.png"]
    assert both(tmp_path, zipped([raw], extra[1:])) == ["__.png"]


def test_backslashes_are_separators(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat\\", b"")
        for number, name in enumerate(("cat\\a.png", "dog\\deep\\b.png", "..\\up.png", "\\root.png", ".\\cat\\c.png")):
            archive.writestr(name, image_bytes(number))
    path = tmp_path / "made.zip"
    path.write_bytes(file.getvalue())
    found = {entry.path: entry.code for entry in archives.entries(path, LIMITS)}
    refused = {"..\\up.png": "unsafe_path", "\\root.png": "unsafe_path"}
    assert found == {"cat/a.png": "", "dog/deep/b.png": "", "cat/c.png": "", **refused}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_names_that_are_no_utf8(db: Database, settings: Settings, tmp_path: Path, format: int) -> None:
    given = [b"caf\xe9.png", b"caf\xe8.png", b"plain.png", "chat/été.png".encode()]
    data = tarred(given if format == tarfile.USTAR_FORMAT else [*given, b"\xe9" * 120 + b".png"], format)
    assert both(tmp_path, data)[:4] == ["café.png", "cafè.png", "plain.png", "chat/été.png"]
    ingested(db, settings, data)
    with db.read() as session:
        assert session.scalars(select(Rejection)).all() == []


def test_a_name_that_is_taken_is_escaped(db: Database, settings: Settings) -> None:
    ingested(db, settings, tarred(["café.png".encode(), b"caf\xe9.png"], tarfile.PAX_FORMAT))
    with db.read() as session:
        assert session.scalars(select(Image.path).order_by(Image.id)).all() == ["café.png", "caf%E9.png"]


def test_a_folder_with_names_of_any_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "photos"
    folder.mkdir(parents=True)
    for number, name in enumerate((b"caf\xe9.png", b"caf\xe8.png", b"tab\t.png")):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(image_bytes(number))
    found = {entry.path: entry.code for entry in archives.folder_entries(folder, tmp_path / "root", LIMITS)}
    assert found == {"café.png": "", "cafè.png": "", "tab␉.png": ""}
    assert {image.path for image in open_source(folder).images} == set(found)


HIDDEN = (".ipynb_checkpoints/a.png", "cat/.b/c.png", "__MACOSX/cat/._a.png", "cat/Thumbs.db", "desktop.ini", "cat/.DS_Store")


def test_hidden_files_are_passed_over_on_every_way_in(db: Database, settings: Settings, tmp_path: Path) -> None:
    kept = ("cat/a.png", "dog/b.png", "a.b/d.png")
    files = {name: image_bytes(number) for number, name in enumerate((*HIDDEN, *kept))}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    found = tarred([name.encode() for name in files], tarfile.PAX_FORMAT)
    for archived in (file.getvalue(), found):
        assert sorted(both(tmp_path, archived)) == sorted(kept)
    folder = tmp_path / "root" / "all"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    entries = [entry for entry in archives.folder_entries(folder, tmp_path / "root", LIMITS) if entry.code != IGNORED]
    assert sorted(entry.path for entry in entries) == sorted(kept)
    assert sorted(image.path for image in open_source(folder).images) == sorted(kept)
    ingested(db, settings, file.getvalue(), labels="folders")
    with db.read() as session:
        dataset = session.scalars(select(Dataset)).one()
        assert (dataset.images, dataset.rejected, dataset.classes) == (3, 0, 3)
        assert [(notice["code"], notice["count"]) for notice in dataset.notices] == [("hidden_files", len(HIDDEN))]


def test_what_is_no_hidden_file() -> None:
    assert not any(map(is_ignored, ("a/b.c/d.png", "../x.png", "./x.png", "x/../y.png", "x.", "My Thumbs.db.png")))
    assert all(map(is_ignored, (*HIDDEN, ".x", "a/.x/b", "..x/y", "@eaDir/x.jpg", "a/thumbs.db")))


def test_labels_of_folders_that_look_the_same_are_one(db: Database, settings: Settings, tmp_path: Path) -> None:
    folders = ("été", "e\u0301te\u0301", " été", "été\u200b", "\u3000")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, folder in enumerate(folders):
            archive.writestr(f"{folder}/{number}.png", image_bytes(number))
    ingested(db, settings, file.getvalue(), labels="folders")
    with db.read() as session:
        assert session.scalars(select(Label.label)).all() == ["été"] * 4


def test_a_bigtiff_is_an_image_by_its_header() -> None:
    assert may_be_image(b"II+\0\x08\0\0\0") and may_be_image(b"MM\0+\0\x08\0\0")
    assert may_be_image(b"\0\0\0\x1cftypavif") and may_be_image(b"\0\0\0\x18ftypheic") and may_be_image(b"Pf\n2 2\n")
    assert not may_be_image(b"RIFF\0\0\0\0WAVEfmt ") and not may_be_image(b"P7\n")
