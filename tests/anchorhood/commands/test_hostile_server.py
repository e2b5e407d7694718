"""A server, or a dataset, that means harm to whoever asks it by the command line."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from anchorhood import AnchorhoodError, Client
from anchorhood.models import writing
from anchorhood.progress import Progress
from core.ground import logs
from tests.running_commands import Quiet, answering, run

HARM = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nfine\x7f\u202e\b"
NAMES = [
    "../outside",
    "/tmp/outside",
    "a/../../outside",
    "..",
    ".",
    "",
    "..\\outside",
    "C:outside",
    "C:\\outside",
    "\\\\server\\share\\outside",
    "encoder.onnx:stream",
    "folder/outside",
    ".bashrc",
    "a\0b",
    "a\nb",
    "n" * 300,
    "ä",
    7,
    None,
]
MODEL = {"id": "mdl_1", "dataset_id": "ds_1", "job_id": "job_1", "images": 2, "dim": 2, "created_at": "2026-01-01T00:00:00Z"}
DATASET = {
    "id": f"ds_1{HARM}",
    "name": HARM,
    "status": "failed",
    "labels": "none",
    "images": 1,
    "rejected": 1,
    "duplicates": 0,
    "classes": 0,
    "bytes": 1,
    "model_id": None,
    "metadata": {},
    "error": {"code": HARM, "message": HARM},
    "notices": [{"code": HARM, "message": HARM}],
    "created_at": "2026-01-01T00:00:00Z",
}


class Hostile(Quiet):
    """Names a file as it likes; everything that has words has harm in them."""

    files: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/models/mdl_1":
            self.answer(200, json.dumps({**MODEL, "manifest": {"files": self.files}}).encode())
        elif path.startswith("/models/mdl_1/files/"):
            self.answer(200, b"content")
        elif path == "/datasets":
            self.answer(200, json.dumps({"data": [DATASET], "next": None}).encode())
        elif path == "/datasets/ds_1":
            self.answer(200, json.dumps(DATASET).encode())
        elif path == "/datasets/ds_1/rejections":
            row = {"path": HARM, "code": HARM, "reason": HARM, "job_id": None}
            self.answer(200, json.dumps({"data": [row], "next": None}).encode())
        else:
            self.answer(404, json.dumps({"status": 404, "code": HARM, "detail": HARM, "title": "", "type": ""}).encode())


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler: type[BaseHTTPRequestHandler] = Hostile
    with answering(handler) as address:
        monkeypatch.setenv("ANCHORHOOD_URL", f"http://{address}")
        yield f"http://{address}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "folder").mkdir(parents=True)
    return tmp_path / "out"


def around(folder: Path) -> set[Path]:
    return set(folder.parent.rglob("*"))


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_no_name_of_a_manifest_leads_out_of_the_folder(
    hostile: str, folder: Path, name: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hostile, "files", ["encoder.onnx", name])
    monkeypatch.chdir(folder)
    before = around(folder)
    with Client(hostile) as client, pytest.raises(AnchorhoodError, match="no plain name"):
        client.models.download_all("mdl_1", folder)
    assert around(folder) == before, "nor was anything else written"


def test_plain_names_are_written(hostile: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hostile, "files", ["encoder.onnx", "embeddings.npy"])
    with Client(hostile) as client:
        written = client.models.download_all("mdl_1", folder)
    assert written == [folder / "manifest.json", folder / "encoder.onnx", folder / "embeddings.npy"]
    assert {path.read_bytes() for path in written} == {b"content"}


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.onnx.part"])
def test_links_in_the_folder_are_not_followed(hostile: str, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = folder.parent / "outside"
    outside.write_text("mine")
    (folder / name).symlink_to(outside)
    monkeypatch.setattr(Hostile, "files", ["encoder.onnx"])
    with Client(hostile) as client:
        if name.endswith(".part"):
            client.models.download_all("mdl_1", folder)
        else:
            with pytest.raises(AnchorhoodError, match="is a link"):
                client.models.download_all("mdl_1", folder)
    assert outside.read_text() == "mine"


def test_what_a_killed_command_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "x.npz.part").write_text("half")
    with writing(tmp_path / "x.npz") as file:
        file.write(b"whole")
    assert (tmp_path / "x.npz").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["x.npz"]


@pytest.mark.parametrize(
    "command",
    [["datasets", "list"], ["datasets", "show", "ds_1"], ["datasets", "list", "--json"], ["jobs", "show", "job_1"]],
    ids=" ".join,
)
def test_no_control_character_reaches_a_terminal(hostile: str, command: list[str]) -> None:
    said = run(command)
    shown = said.out + said.err
    assert "fine" in shown
    assert [repr(each) for each in shown if each != "\n" and (not each.isprintable())] == []
    assert not any(line.startswith("fine") for line in shown.splitlines()), "a name made a line of its own"
    if "--json" in command:
        assert json.loads(said.out)[0]["name"] == HARM


def test_nor_by_a_bar_or_a_line_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (False, True):
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stderr", shown)
        with Progress(HARM, enabled=True) as progress:
            progress.show(0.5, HARM, news=True)
        assert "owned" in shown.getvalue()
        assert not set("\x07\x9b\x7f\u202e") & set(shown.getvalue())
        assert "\x1b]" not in shown.getvalue(), "tqdm has sequences of its own"


def test_nor_by_what_a_training_here_says(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    log = logging.getLogger("hostile")
    logs.configure_plain("hostile")
    log.info("skipped %s", HARM)
    log.handlers.clear()
    assert "owned" in shown.getvalue()
    assert all(each.isprintable() or each == "\n" for each in shown.getvalue()), shown.getvalue()
