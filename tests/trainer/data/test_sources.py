"""Folders and archives are alike, and bad files in them are named."""

import gzip
import shutil
import zipfile
from pathlib import Path

import pytest

from trainer.data.sources import SourceError, open_source


def test_sources_are_alike_and_bad_files_are_skipped(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(pictures) as archive:
        archive.extractall(folder)
    shutil.make_archive(str(tmp_path / "all"), "gztar", folder)
    expected = [image.sha256 for image in open_source(pictures).images]
    assert [image.sha256 for image in open_source(tmp_path / "all.tar.gz").images] == expected
    (folder / "notes.txt").write_text("hello")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "copy.png").write_bytes(next(folder.glob("class-0/*.png")).read_bytes())
    listed = open_source(folder)
    assert [image.sha256 for image in listed.images] == expected
    assert (listed.duplicates, [path for path, _ in listed.rejected]) == (1, ["notes.txt"])
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="not a folder, a zip"):
        open_source(folder / "notes.txt")
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no usable image"):
        open_source(tmp_path / "none")


def test_archives_with_unreadable_entries(pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(pictures) as whole_archive, zipfile.ZipFile(broken, "w") as archive:
        for name in whole_archive.namelist():
            archive.writestr(name, whole_archive.read(name))
        start = archive.infolist()[3].header_offset
    data = bytearray(broken.read_bytes())
    data[start + 60] ^= 0xFF  # inside the fourth entry's content: its CRC no longer fits
    broken.write_bytes(data)
    listed = open_source(broken)
    assert len(listed.images) == 39
    assert "CRC" in listed.rejected[0][1]
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(gzip.compress(bytes(5000))[:20])
    with pytest.raises(SourceError):
        open_source(cut)
