"""Archives and folders made to exhaust, to mislead or to lead outside."""

import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from core.collections import datasets
from core.errors import BadArchive, BadRequest
from core.settings import Settings
from core.untrusted import archives
from core.untrusted.entries import Entry, Limits
from tests.conftest import image_bytes

MIB = 1 << 20
LIMITS = Limits(entries=100, file_bytes=MIB, unpacked_bytes=1 << 30, ratio=50)


def read(tmp_path: Path, data: bytes, limits: Limits = LIMITS) -> dict[str, Entry]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return {entry.path: entry for entry in archives.entries(path, limits)}


def tarred(*entries: tuple[str, int], packed: bool = True) -> bytes:
    """Files of zeros."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if packed else "w") as archive:
        for name, size in entries:
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return file.getvalue()


def zipped(*entries: tuple[str, int]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in entries:
            archive.writestr(name, bytes(size))
    return file.getvalue()


@pytest.mark.parametrize("made", [tarred, zipped])
def test_files_that_are_too_large_count_with_what_was_unpacked_of_them(tmp_path: Path, made: object) -> None:
    data = made(*((f"{number}.bmp", 4 * MIB) for number in range(20)))  # type: ignore[operator]
    with pytest.raises(BadArchive, match="more than 8,388,608 bytes unpacked"):
        read(tmp_path, data, Limits(100, MIB, 8 * MIB, 10_000))
    assert {entry.code for entry in read(tmp_path, data, Limits(100, MIB, 1 << 30, 10_000)).values()} == {"too_large"}


@pytest.mark.parametrize("made", [tarred, zipped])
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, made: object) -> None:
    data = made(*((f"{number}.bmp", MIB) for number in range(80)))  # type: ignore[operator]
    assert len(data) < MIB
    with pytest.raises(BadArchive, match="more than 50 times its size"):
        read(tmp_path, data)
    assert len(read(tmp_path, data, Limits(100, MIB, 1 << 30, 2000))) == 80


def test_a_zip_whose_entries_overlap(tmp_path: Path) -> None:
    """All entries of the directory name the same bytes, as in the densest bombs."""
    data = zipped(("a.bmp", MIB), ("b.bmp", MIB))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        second = archive.infolist()[1].header_offset
    directory = data.rindex(b"PK\x01\x02")
    broken = bytearray(data)
    assert struct.unpack_from("<I", broken, directory + 42) == (second,)
    struct.pack_into("<I", broken, directory + 42, 0)
    found = read(tmp_path, bytes(broken))
    assert found["b.bmp"].code == "damaged"


def test_a_zip_that_lies_about_the_number_of_its_entries(tmp_path: Path) -> None:
    data = bytearray(zipped(*((f"{number}.bmp", 1) for number in range(101))))
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, 1, 1)
    with pytest.raises(BadArchive, match="more than 100 entries"):
        read(tmp_path, bytes(data))


def test_a_zip_that_claims_a_directory_of_gigabytes(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.bmp", 1)))
    struct.pack_into("<I", data, data.rindex(b"PK\x05\x06") + 12, 3 << 30)
    with pytest.raises(BadArchive, match="list of entries of 3,221,225,472 bytes"):
        read(tmp_path, bytes(data))


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_sparse_files_make_no_gigabytes_of_nothing(tmp_path: Path, form: str) -> None:
    file = io.BytesIO()
    info = tarfile.TarInfo("a.bmp")
    if form == "gnu":
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[386 : 386 + 24], header[483:495] = b"00000000000\x0000000000000\x00", b"77777777777\x00"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        file.write(header + bytes(1024))
    else:
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info.size = 512
            archive.addfile(info, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    with pytest.raises(BadArchive, match="sparse"):
        read(tmp_path, file.getvalue())


def test_a_tar_that_is_cut_off_in_the_middle(tmp_path: Path) -> None:
    whole = gzip.compress(tarred(("a.bmp", 600_000), packed=False), mtime=0)
    with pytest.raises(BadArchive, match=r"tar\.gz archive is damaged"):
        read(tmp_path, whole[: len(whole) // 2])


def of_folders(count: int) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number:06}/"), b"")
    return file.getvalue()


def of_long_names(count: int) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number:06}" + "é" * 30_000), b"")
    return file.getvalue()


def of_deep_names(count: int) -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:gz", format=tarfile.GNU_FORMAT, compresslevel=1) as archive:
        for number in range(count):
            archive.addfile(tarfile.TarInfo("/".join([f"{number:06}{'d' * 24}", *["d" * 30] * 30, "f"])))
    return file.getvalue()


def of_endless_names(count: int) -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for number in range(count):
            archive.addfile(tarfile.TarInfo(f"{number:06}/" + "d" * 30_000))
    return file.getvalue()


_READING = r"""
import re, sys
from collections import Counter
from pathlib import Path
from core.untrusted import archives
from core.untrusted.entries import Limits
counts = Counter(entry.code for entry in archives.entries(Path(sys.argv[1]), Limits(5_000_000, 1 << 20, 1 << 38, 10**6)))
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # rusage counts the parent, too
print(dict(counts), int(peak[1]) // 1024, sep="|")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "count", "found"),
    [
        (of_folders, 120_000, {"empty_folder": 10_000}),
        (of_long_names, 1000, {"unsafe_path": 1000}),
        (of_deep_names, 6000, {"": 6000}),
        (of_endless_names, 3000, {"unsafe_path": 3000}),
    ],
)
def test_memory_does_not_grow_with_entries_and_names(
    tmp_path: Path, made: Callable[[int], bytes], count: int, found: dict[str, int]
) -> None:
    """The process itself takes about 20 MiB."""
    (tmp_path / "archive").write_bytes(made(count))
    said = subprocess.run([sys.executable, "-c", _READING, tmp_path / "archive"], capture_output=True, text=True, check=True)
    counts, mib = said.stdout.split("|")
    assert counts == str(found)
    assert int(mib) < 60


def test_folders_without_files_are_told_in_any_order(tmp_path: Path) -> None:
    names = ["a/1.bmp", "a/", "b/", "b/c/", "d/e/", "d/", "d/e/2.bmp", "f/", "g/h/", "g/"]
    empty = {"b/c/", "f/", "g/h/"}
    with zipfile.ZipFile(zipped_file := io.BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    with tarfile.open(fileobj=(tarred_file := io.BytesIO()), mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info)
    for data in (zipped_file.getvalue(), tarred_file.getvalue()):
        found = read(tmp_path, data)
        assert {path.rstrip("/") for path, entry in found.items() if entry.code} == {name.rstrip("/") for name in empty}
        assert Counter(entry.code for entry in found.values()) == {"": 2, "empty_folder": 3}


def test_a_zip_of_every_form_is_read(tmp_path: Path) -> None:
    """Zip64, bytes before the zip, a comment after it, folders of other systems, links and passwords."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        with archive.open("wide.bmp", "w", force_zip64=True) as entry:
            entry.write(b"wide")
        archive.writestr("back\\slash.bmp", b"back")
        link = zipfile.ZipInfo("link.bmp")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("x" * 2000, b"")
        archive.comment = b"words"
    found = {path: (entry.data, entry.code) for path, entry in read(tmp_path, b"PK\3\4 before" + file.getvalue()).items()}
    expected = {"wide.bmp": (b"wide", ""), "back/slash.bmp": (b"back", ""), "link.bmp": (b"", "link")}
    assert found == {**expected, "x" * 1024: (b"", "unsafe_path")}


def test_global_headers_of_a_tar_are_bounded(tmp_path: Path) -> None:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(60):
            archive.fileobj.write(tarfile.TarInfo.create_pax_global_header({f"key{number}": "x" * 30_000}))
            archive.addfile(tarfile.TarInfo(f"{number}.bmp"))
    with pytest.raises(BadArchive, match="characters of global headers"):
        read(tmp_path, file.getvalue())


@pytest.fixture
def importing(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "root" / "photos" / "a.png").write_bytes(image_bytes(1))
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.png").write_bytes(image_bytes(2))
    return settings.model_copy(update={"import_roots": f"{tmp_path / 'root'}{os.pathsep}{tmp_path / 'other'}"})


def imported(settings: Settings, folder: Path) -> dict[str, str]:
    """Path and code of every file of a folder that was accepted."""
    found = archives.folder_entries(folder, datasets.import_root(settings, folder), LIMITS)
    return {entry.path: entry.code for entry in found}


def test_a_folder_that_becomes_a_link_after_it_was_accepted(importing: Settings, tmp_path: Path) -> None:
    deep = tmp_path / "root" / "photos" / "sub"
    deep.mkdir()
    (deep / "b.png").write_bytes(image_bytes(3))
    accepted = datasets.import_folder(importing, deep.as_uri())
    assert imported(importing, accepted) == {"b.png": ""}
    (tmp_path / "secret" / "sub").mkdir()
    (tmp_path / "secret" / "sub" / "key.png").write_bytes(image_bytes(4))
    (tmp_path / "root" / "photos").rename(tmp_path / "root" / "moved")
    (tmp_path / "root" / "photos").symlink_to(tmp_path / "secret")  # the folder above it
    with pytest.raises(BadArchive, match="cannot read the folder") as caught:
        imported(importing, accepted)
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "root" / "photos").unlink()
    (tmp_path / "root" / "photos").symlink_to(tmp_path / "root" / "moved")
    with pytest.raises(BadArchive, match="cannot read the folder"):
        imported(importing, accepted)


def test_a_root_that_is_a_link_itself_is_followed(importing: Settings, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tmp_path / "root")
    accepted = datasets.import_folder(importing, (tmp_path / "other" / "photos").as_uri())
    assert imported(importing, accepted) == {"a.png": ""}


@pytest.mark.parametrize(
    "uri",
    [
        "{}/root/../secret",
        "{}/root/photos/../../secret",
        "{}/root/%2e%2e/secret",
        "{}/rootless",
        "{}/root/away",
        "{}/root/photos/../away/..",
        "//localhost{}/secret",
        "{}/root\0/photos",
        "/proc/self/root{}/secret",
        "/",
    ],
)
def test_no_name_leads_out_of_the_roots(importing: Settings, tmp_path: Path, uri: str) -> None:
    (tmp_path / "root" / "away").symlink_to(tmp_path / "secret")
    (tmp_path / "rootless").mkdir()
    for text in (uri.format(tmp_path), "file://" + uri.format(tmp_path)):
        with pytest.raises(BadRequest) as caught:
            datasets.import_folder(importing, text)
        assert str(tmp_path) not in str(caught.value)


def test_links_pipes_and_endless_folders_are_refused(importing: Settings, tmp_path: Path) -> None:
    photos = tmp_path / "root" / "photos"
    (photos / "file.png").symlink_to(tmp_path / "secret" / "key.png")
    (photos / "folder").symlink_to(tmp_path / "secret")
    (photos / "round").symlink_to(photos)
    os.mkfifo(photos / "pipe.png")
    deep = photos / "/".join(["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "x.png").write_bytes(image_bytes(5))
    found = imported(importing, photos)
    assert found.pop("/".join(["d"] * 33)) == "unsafe_path"
    assert found == {"a.png": "", "file.png": "link", "folder": "link", "round": "link", "pipe.png": "special_file"}


def test_a_folder_has_limits_too(importing: Settings, tmp_path: Path) -> None:
    photos = tmp_path / "root" / "photos"
    for number in range(5):
        (photos / f"{number}.bmp").write_bytes(bytes(MIB))
    for limits, words in ((Limits(3, MIB, 1 << 30, 1), "more than 3 entries"), (Limits(9, MIB, 3 * MIB, 1), "bytes unpacked")):
        with pytest.raises(BadArchive, match=words):
            list(archives.folder_entries(photos, tmp_path / "root", limits))
