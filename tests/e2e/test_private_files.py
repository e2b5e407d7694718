"""What the system writes is its user's alone, whatever the umask that it was started with."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from anchorhood.commands.main import commands
from core.files.layout import DataFolder
from tests.published import Published


@pytest.fixture(autouse=True)
def _generous() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [f"{path} {stat.filemode(path.lstat().st_mode)}" for path in paths if path.lstat().st_mode & 0o077]


def test_what_commands_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(tmp_path / "data"))
    for arguments in (["migrate"], ["secrets", tmp_path / "secrets"], ["backup", tmp_path / "saved"]):
        assert CliRunner().invoke(commands, list(map(str, arguments))).exit_code == 0, arguments
    for name in ("data", "secrets", "saved"):
        # Redis, another user, has the folder's group and reads its password, and nothing else (docs/deployment.md).
        shared = {"secrets drwx--x---", "broker-password -rw-r-----"}
        found = {each.rpartition("/")[2] for each in readable_by_others(tmp_path / name)}
        assert list((tmp_path / name).iterdir()) and found == (shared if name == "secrets" else set())
    assert os.umask(0) == 0  # as it was


def test_what_an_earlier_version_wrote(tmp_path: Path) -> None:
    layout = DataFolder(tmp_path)
    (layout.models / "inside").mkdir()
    layout.rows.touch()
    tmp_path.chmod(0o755)
    layout.make_private()
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077] == []
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
def test_what_jobs_write(published: Published) -> None:
    folder = published.live.data_dir
    found = [line for line in readable_by_others(folder) if not line.startswith((f"{folder} ", f"{folder}/serve.log"))]
    assert found == []  # those two are the test's
    assert {"uploads", "datasets", "models", "runs", "logs", "run"} <= {path.name for path in folder.iterdir()}
