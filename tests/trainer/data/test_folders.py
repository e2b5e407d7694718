"""What the trainer takes of a folder, and what it names because it cannot."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import image_bytes
from trainer.data.sources import open_source

NOBODY = 65534
CHILD = f"""
import os, sys
from core.ground.logs import configure_plain
from trainer.commands.inputs import open_and_report
if os.getuid() == 0:
    os.setgid({NOBODY}); os.setuid({NOBODY})
configure_plain("trainer")
open_and_report(sys.argv[1])
"""


def write(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes(number))


def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write(folder, "cat/a.png", "dog/b.png")
    (folder / "link.png").symlink_to(folder / "cat" / "a.png")
    (folder / "nowhere.png").symlink_to(tmp_path / "gone")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "dog" / "pipe.png")
    listed = open_source(folder)
    assert {image.path for image in listed.images} == {"cat/a.png", "dog/b.png"}
    assert listed.duplicates == 1  # of the link to a file
    assert {path: reason.removeprefix("cannot be read: ") for path, reason in listed.rejected} == {
        "again": "a link to a folder, which is not followed",
        "dog/pipe.png": "neither a file nor a link to one",
        "loop.png": "neither a file nor a link to one",
        "nowhere.png": "neither a file nor a link to one",
    }


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that any user may look into, unlike pytest's, which every further run of pytest closes again."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.slow  # a process with torch
def test_what_another_user_may_not_read_is_named_and_counted(open_folder: Path) -> None:
    write(open_folder, *(f"{number}.png" for number in range(6)), "closed/in.png")
    (open_folder / "notes.txt").write_text("hello")
    closed = ("0.png", "1.png", "2.png", "closed")
    for name in closed:
        (open_folder / name).chmod(0)
    done = subprocess.run([sys.executable, "-c", CHILD, str(open_folder)], capture_output=True, text=True, check=True)
    *named, counted = done.stderr.splitlines()
    assert sorted(named)[:4] == [f"skipped {name}: cannot be read: Permission denied" for name in closed]
    assert sorted(named)[4].startswith("skipped notes.txt: not an image") and len(named) == 5
    assert counted == "skipped 5 files and folders in all; 3 images are used"
    (open_folder / "closed").chmod(0o700)  # so that it can be deleted


def test_hidden_folders_are_no_class(tmp_path: Path) -> None:
    write(tmp_path, "cat/a.png", ".ipynb_checkpoints/b.png", "__MACOSX/cat/._a.png", "cat/Thumbs.db")
    listed = open_source(tmp_path)
    assert [image.path for image in listed.images] == ["cat/a.png"]
    assert (list(listed.rejected), {code: count for code, count in listed.noticed.items() if count}) == ([], {"hidden_files": 3})
