"""What the client takes of a folder, and what it names because it cannot."""

import errno
import io
import os
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from anchorhood import LeftOut
from anchorhood.packing import left_out_lines, pack

NOBODY = 65534
CHILD = f"""
import io, os, sys
from pathlib import Path
from anchorhood.packing import pack
if os.getuid() == 0:
    os.setgid({NOBODY}); os.setuid({NOBODY})
file = io.BytesIO()
for one in pack(Path(sys.argv[1]), file, None):
    print(f"{{one.path}}|{{one.reason}}")
"""


def packed(folder: Path, ignored: str | None = None) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files of the tar, and the reasons for what is not in it."""
    file = io.BytesIO()
    left_out = pack(folder, file, re.compile(ignored) if ignored else None)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        members = archive.getmembers()
        found = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    return found, {one.path: one.reason for one in left_out}


def test_every_file_is_taken_as_it_is(tmp_path: Path) -> None:
    files = {"a.png": b"", "class b/ü.png": b"x" * 512, "class b/deep/" + "n" * 150 + ".png": b"y" * 513, "z": b"z"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert packed(tmp_path) == (files, {})


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "class").mkdir(parents=True)
    (folder / "class" / "a.png").write_bytes(b"a")
    (folder / "link.png").symlink_to(folder / "class" / "a.png")
    (folder / "nowhere.png").symlink_to(tmp_path / "gone")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "again").symlink_to(folder)
    (folder / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
        found, left_out = packed(folder)
    assert found == {"class/a.png": b"a", "link.png": b"a"}
    assert set(left_out) == {"nowhere.png", "loop.png", "again", "elsewhere", "pipe", "socket"}
    assert left_out["nowhere.png"] == "a link that leads nowhere: No such file or directory"
    assert "a link to a folder" in left_out["again"]
    assert left_out["pipe"] == left_out["socket"] == "neither a file nor a folder"


def test_what_another_user_may_not_read_is_named_and_the_rest_is_taken(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.png").write_bytes(b"x")
    hidden = tmp_path / "closed"
    hidden.mkdir()
    (hidden / "in.png").write_bytes(b"x")
    for path in (*(tmp_path / f"{number:02}.png" for number in range(20)), hidden):
        path.chmod(0)
    for above in (tmp_path, *tmp_path.parents):
        if above != Path("/") and above.stat().st_uid == os.getuid() and "pytest" in str(above):
            above.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True)
    named = dict(line.split("|") for line in done.stdout.splitlines())
    assert set(named) == {*(f"{number:02}.png" for number in range(20)), "closed"}
    assert set(named.values()) == {"cannot be read: Permission denied"}
    hidden.chmod(0o700)  # so that it can be deleted


class Meddled(io.BytesIO):
    """A file to pack into, at whose first bytes something happens to the folder."""

    def __init__(self, meddle: object) -> None:
        super().__init__()
        self._meddle = meddle

    def write(self, data: object) -> int:
        meddle, self._meddle = self._meddle, None
        if callable(meddle):
            meddle()
        return super().write(data)  # type: ignore[arg-type]


def test_files_that_vanish_or_change_while_they_are_packed_are_named(tmp_path: Path) -> None:
    big = 3 << 20
    for name in ("a.png", "b-grows.png", "c-shrinks.png", "d-vanishes.png", "e.png"):
        (tmp_path / name).write_bytes(name.encode() * (big // len(name)))

    def before_the_first() -> None:
        (tmp_path / "d-vanishes.png").unlink()

    file = Meddled(before_the_first)
    real_write, turns = file.write, iter(range(1000))

    def write(data: bytes) -> int:
        turn = next(turns)
        if turn == 6:  # a: header, three pieces, padding; b: header, first piece
            with open(tmp_path / "b-grows.png", "ab") as grown:
                grown.write(b"more")
            os.truncate(tmp_path / "c-shrinks.png", 10)
        return real_write(data)

    file.write = write  # type: ignore[method-assign, assignment]
    left_out = pack(tmp_path, file, None)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        found = {member.name: member.size for member in archive.getmembers()}
    assert set(found) == {"a.png", "c-shrinks.png", "e.png"}  # c is taken as it was when its turn came
    assert found["c-shrinks.png"] == 10
    assert {one.path: one.reason for one in left_out} == {
        "b-grows.png": "became longer while it was packed",
        "d-vanishes.png": "cannot be read: No such file or directory",
    }


def test_a_file_that_becomes_shorter_while_it_is_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a" * (4 << 20))
    (tmp_path / "b.png").write_bytes(b"b")

    def shorten() -> None:
        os.truncate(tmp_path / "a.png", 100)

    file = Meddled(shorten)
    assert pack(tmp_path, file, None) == [LeftOut("a.png", "became shorter while it was packed")]
    with tarfile.open(fileobj=file, mode="r:") as archive:
        assert archive.getnames() == ["b.png"]


def test_names_that_are_no_utf8_are_shown(tmp_path: Path) -> None:
    os.symlink("gone", os.fsencode(tmp_path) + b"/\xe4.png")
    (tmp_path / "a.png").write_bytes(b"a")
    assert packed(tmp_path)[1] == {"\ufffd.png": "a link that leads nowhere: No such file or directory"}


def test_what_the_service_passes_over_is_not_sent(tmp_path: Path) -> None:
    for name in (".git/objects/1", "a/.DS_Store", "a/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert packed(tmp_path, r"(^|/)\.") == ({"a/b.png": b"x"}, {})


def test_a_folder_of_nothing_says_so_and_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file in it that can be uploaded"):
        packed(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"left out 1 of the folder:\n  pipe: neither a file nor a folder"):
        packed(tmp_path)


def test_a_full_disk_is_named_as_the_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a" * 100_000)
    with open("/dev/full", "wb", buffering=0) as full:
        full.tell = lambda: 0  # type: ignore[method-assign] # a device has no place
        with pytest.raises(OSError, match="cannot pack the folder") as error:
            pack(tmp_path, full, None)
    assert error.value.errno == errno.ENOSPC


def test_many_are_counted_and_the_first_named() -> None:
    lines = left_out_lines([LeftOut(f"{number}", "gone") for number in range(1200)])
    assert lines[0] == "left out 1,200 of the folder:"
    assert (lines[1], lines[-1], len(lines)) == ("  0: gone", "  and 1,100 more", 102)
