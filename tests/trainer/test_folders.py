"""What the trainer takes of a folder, and what it names because it cannot."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import image_bytes
from trainer.sources import open_source

NOBODY = 65534
CHILD = f"""
import os, sys
from trainer.logs import configure
from trainer.run_command import open_and_report
if os.getuid() == 0:
    os.setgid({NOBODY}); os.setuid({NOBODY})
configure(None)
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


def test_what_another_user_may_not_read_is_named_and_counted(tmp_path: Path) -> None:
    write(tmp_path, *(f"{number}.png" for number in range(6)), "closed/in.png")
    (tmp_path / "notes.txt").write_text("hello")
    for name in ("0.png", "1.png", "2.png", "closed"):
        (tmp_path / name).chmod(0)
    for above in (tmp_path, *tmp_path.parents):
        if above != Path("/") and above.stat().st_uid == os.getuid() and "pytest" in str(above):
            above.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=True)
    *named, counted = done.stderr.splitlines()
    assert sorted(named)[:4] == [
        "skipped 0.png: cannot be read: Permission denied",
        "skipped 1.png: cannot be read: Permission denied",
        "skipped 2.png: cannot be read: Permission denied",
        "skipped closed: cannot be read: Permission denied",
    ]
    assert counted == "skipped 5 files and folders in all; 3 images are used"
    (tmp_path / "closed").chmod(0o700)  # so that it can be deleted


def test_hidden_folders_are_no_class(tmp_path: Path) -> None:
    write(tmp_path, "cat/a.png", ".ipynb_checkpoints/b.png", "__MACOSX/cat/._a.png", "cat/Thumbs.db")
    listed = open_source(tmp_path)
    assert [image.path for image in listed.images] == ["cat/a.png"]
    assert (list(listed.rejected), {code: count for code, count in listed.noticed.items() if count}) == ([], {"hidden_files": 3})
