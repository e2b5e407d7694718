"""Thousands of broken files through the real path of an upload: no process dies, none grows."""

import gzip
import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from core.errors import BadArchive
from core.settings import Settings
from core.untrusted import archives
from core.untrusted.decoding import Checked, Decoders
from core.untrusted.entries import Limits
from tests.conftest import image_bytes
from tests.core.hostile_files import corpus, mutated
from tests.core.untrusted.test_decoders import processes

PIXELS = 4_000_000
GROWTH = 64 << 20  # bytes by which a decoder may grow: a leak of 10 kB a file would show in 10,000
LIMITS = Limits(1000, 1 << 20, 64 << 20, 200)


def memory(process: int) -> int:
    """Bytes that are resident now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def test_the_valid_files_are_valid(settings: Settings) -> None:
    files = corpus()
    with Decoders(settings) as decoders:
        found = dict(zip(files, decoders.check(list(files.values()), PIXELS), strict=True))
    assert {name: each for name, each in found.items() if not isinstance(each, Checked)} == {}
    assert {each.format for each in found.values() if isinstance(each, Checked)} == {
        "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM",
    }  # fmt: skip


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_images(settings: Settings, count: int) -> None:
    valid = corpus()
    files = mutated(valid, count, seed=count)
    codes: Counter[str] = Counter()
    with Decoders(settings) as decoders:
        decoders.check(list(valid.values()), PIXELS)
        (process,) = processes()
        before = memory(process)
        while some := list(islice(files, 64)):
            codes.update("kept" if isinstance(each, Checked) else each.code for each in decoders.check(some, PIXELS))
        assert processes() == {process}, "a decoder died"
        grown = memory(process) - before
    print(dict(codes), f"grown by {grown / 2**20:.1f} MiB")
    assert codes.total() == count
    # A few of many announce more work than they warrant.
    assert set(codes) - {"too_much_work"} == {"kept", "not_an_image", "too_many_pixels", "truncated", "damaged"}
    assert grown < GROWTH


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for number in range(4):
            archive.writestr(f"folder/{number}-é.png", image_bytes(number))
    return file.getvalue()


def tarred(format: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for number in range(4):
            info = tarfile.TarInfo(f"folder/{'long' * 40}/{number}-é.png")
            info.size, info.mtime = len(image_bytes(number)), 0.5 if format == tarfile.PAX_FORMAT else 0
            archive.addfile(info, io.BytesIO(image_bytes(number)))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../" * 60
        archive.addfile(link)
    return file.getvalue()


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "zip": zipped,
    "pax": lambda: tarred(tarfile.PAX_FORMAT),
    "gnu": lambda: tarred(tarfile.GNU_FORMAT),
    "tar.gz": lambda: tarred(tarfile.PAX_FORMAT),  # packed after it was broken
}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("count", [150, pytest.param(2_500, marks=pytest.mark.slow)])
def test_mutated_archives(tmp_path: Path, kind: str, count: int) -> None:
    path, ends, told = tmp_path / "archive", Counter[str](), ""
    for data in mutated({kind: ARCHIVES[kind]()}, count, seed=count):
        path.write_bytes(gzip.compress(data, 1) if kind == "tar.gz" else data)
        try:
            found = list(archives.entries(path, LIMITS))
            ends["read"] += 1
        except BadArchive as error:
            ends["refused"] += 1
            told += str(error)
            continue
        assert sum(len(entry.data) for entry in found) <= LIMITS.unpacked_bytes
        for entry in found:
            assert entry.code or (not entry.path.startswith("/") and ".." not in entry.path.split("/"))
            entry.path.encode()  # any database can hold it
            entry.reason.encode()
    assert ends["read"] and ends["refused"], ends
    assert str(tmp_path) not in told
    assert [file.name for file in tmp_path.iterdir()] == ["archive"]
