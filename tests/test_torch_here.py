"""``make setup`` takes torch without CUDA from an index that has it, else PyPI's. The index is made up here."""

import functools
import platform
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / ".ci"))
import torch_here  # noqa: E402

WANTED = torch_here.pinned((ROOT / "constraints.txt").read_text(), "x86_64")
here = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or torch_here.has_gpu(),
    reason="PyPI's torch is taken on this machine",
)


def wheel(path: Path, name: str, version: str) -> None:
    folder = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of an index with the versions that constraints.txt has, built without CUDA."""
    for one in WANTED:
        name, _, version = one.partition("==")
        (tmp_path / "index" / name).mkdir(parents=True)
        wheel(tmp_path / "index" / name / f"{name}-{version}+cpu-py3-none-any.whl", name, f"{version}+cpu")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "index"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_one_version_of_each_is_wanted() -> None:
    assert [one.partition("==")[0] for one in WANTED] == ["torch", "torchvision"]


@here
def test_without_an_index_one_line_says_so() -> None:
    said = torch_here.install("http://127.0.0.1:9")
    assert "does not answer" in said and "PyPI's is installed" in said and "\n" not in said


@pytest.mark.slow
@here
def test_it_is_taken_from_the_index_and_satisfies_the_constraints(index: str, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"

    def said(*arguments: str) -> str:
        return subprocess.run([python, *arguments], cwd=ROOT / ".ci", check=True, capture_output=True, text=True).stdout

    assert "without CUDA" in said("-c", f"import torch_here; print(torch_here.install({index!r}))")
    assert all(f"{one}+cpu" in said("-m", "pip", "freeze") for one in WANTED)
    again = said("-m", "pip", "install", "--no-index", "--constraint", "../constraints.txt", "torch>=2.9", "torchvision>=0.24")
    assert again.count("already satisfied") == 2, again


@here
def test_an_index_without_these_versions_is_left(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_here, "pinned", lambda constraints, machine: ["torch==0.0.1"])
    said = torch_here.install(index)
    assert "has no torch==0.0.1" in said and "PyPI's is installed" in said
