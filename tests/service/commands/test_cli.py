"""Every command of ``anchorhood``, run as a user would, against a live system."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from anchorhood import Dataset
from anchorhood.commands.main import commands
from core.settings import Settings
from core.store import migrate
from tests.conftest import image_bytes, picture_zip
from tests.live import Live, wait_for
from tests.published import Published
from tests.running_commands import Quiet, answering

ROOT = Path(__file__).parents[3]
SHORT = ("--preset", "quick", *(f"--param={p}" for p in ("rounds=2", "epochs_first=1", "epochs=1", "dim=8", "batch_size=16")))


class Shell:
    """Runs commands in processes of their own."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.env = {**os.environ, "ANCHORHOOD_URL": url, "ANCHORHOOD_DATA_DIR": str(data_dir)}

    def run(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "anchorhood", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def run_out(self, *arguments: str) -> str:
        """What a command that exits with 1 prints."""
        command = [sys.executable, "-m", "anchorhood", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 1, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture(scope="module")
def shell(published: Published) -> Shell:
    return Shell(str(published.live.client.base_url), published.live.data_dir)


def every_command(group: click.Group = commands, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.slow
def test_from_a_folder_to_a_model(shell: Shell, published: Published, tmp_path: Path) -> None:
    for number in range(24):
        path = tmp_path / "photos" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(20_000 + number, 16))
    judge = picture_zip(tmp_path / "judge.zip", 8, first=21_000)
    out = tmp_path / "model"
    arguments = ("train", str(tmp_path / "photos"), "--labels", "folders", "--eval", str(judge), *SHORT, "--out", str(out))
    job = shell.json(*arguments)
    assert (job["status"], job["evaluation"]["held_out"]) == ("succeeded", True)
    assert {"encoder.onnx", "embeddings.npy", "manifest.json"} <= {path.name for path in out.iterdir()}
    dataset = job["dataset_id"]
    assert "kNN accuracy" in shell.run("jobs", "show", job["id"])
    assert "raw pixels" in shell.run("jobs", "follow", job["id"])
    assert "raw pixels" in shell.run("evaluate", dataset, "-k", "5")
    assert shell.json("evaluate", dataset)["labels"]["judged"] == 24
    assert job["id"] in shell.run("jobs", "list", "--dataset", dataset, "--status", "succeeded")
    assert shell.json("jobs", "list", "--kind", "train", "--dataset", dataset)[0]["id"] == job["id"]
    assert "no evidence, on" in shell.run("jobs", "show", job["id"])
    longer = shell.json("jobs", "continue", job["id"], "--add-rounds", "1")
    assert longer["continues"] == job["id"]
    shell.run("jobs", "cancel", longer["id"])
    (model,) = shell.json("models", "list", "--dataset", dataset)
    assert shell.json("models", "use", dataset, model["id"])["model_id"] == model["id"]
    npz, csv = tmp_path / "all.npz", tmp_path / "all.csv"
    shell.run("export", dataset, "--out", str(npz))
    shell.run("export", dataset, "--out", str(csv))
    assert np.load(npz)["embeddings"].shape == (24, 8)
    assert len(csv.read_text().splitlines()) == 25
    query = tmp_path / "photos" / "class-0" / "0.png"
    found = shell.json("neighbours", str(query), "-k", "3", "--dataset", dataset)["neighbours"]
    assert found[0]["path"] == "class-0/0.png"
    assert len(shell.run("neighbours", str(found[0]["image_id"]), "-k", "3", "--dataset", dataset).splitlines()) == 3
    only = shell.json("neighbours", str(query), "--dataset", dataset, "--label", "class-1", "-k", "50")["neighbours"]
    assert {one["label"] for one in only} == {"class-1"}
    assert shell.json("classify", str(query), "--dataset", dataset)[0]["label"] in ("class-0", "class-1")
    strip = tmp_path / "strip.png"
    assert "round 0" in shell.run("attention", str(found[0]["image_id"]), "--out", str(strip))
    with Image.open(strip) as picture:
        assert picture.size == (2 * 224, 224)
    assert "must end in .png" in shell.run("attention", "1", "--out", str(tmp_path / "strip.txt"), code=2)
    table = tmp_path / "classes.csv"
    assert "24 images" in shell.run("classify", "--all", dataset, "--out", str(table), "-k", "5")
    assert len(table.read_text().splitlines()) == 25
    assert "current" in shell.run("models", "delete", model["id"], code=1)
    newer = published.live.finished(shell.json("jobs", "continue", job["id"], "--add-rounds", "1")["id"])
    assert "deleted" in shell.run("models", "delete", model["id"])
    assert [one["id"] for one in shell.json("models", "list", "--dataset", dataset)] == [newer["model_id"]]


@pytest.mark.slow
def test_datasets(shell: Shell, tmp_path: Path) -> None:
    archive = picture_zip(tmp_path / "a.zip", 6, first=22_000)
    dataset = shell.json("datasets", "upload", str(archive), "--name", "mine")["id"]
    assert "mine" in shell.run("datasets", "list")
    (tmp_path / "more.png").write_bytes(image_bytes(23_000, 16))
    assert shell.json("datasets", "add", dataset, str(tmp_path / "more.png"))["images"] == 7
    (tmp_path / "labels.csv").write_text("path,label\nclass-0/0000.png,a\nmore.png,b\n")
    assert shell.json("datasets", "label", dataset, str(tmp_path / "labels.csv"))["set"] == 2
    assert shell.json("datasets", "compact", dataset)["status"] == "succeeded"
    shown = shell.json("datasets", "show", dataset)
    assert (shown["dataset"]["classes"], shown["rejections"]) == (2, [])
    (tmp_path / "bad.csv").write_text("name,kind\nx,y\n")
    assert "path,label or image_id,label" in shell.run("datasets", "label", dataset, str(tmp_path / "bad.csv"), code=1)
    shell.run("datasets", "delete", "mine", "--yes")
    assert "no dataset" in shell.run("datasets", "show", dataset, code=1)


@pytest.mark.slow
def test_what_could_not_be_taken_or_used_is_named(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(image_bytes(24_000, 16))
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "anchorhood", "datasets", "upload", str(folder), "--json"],
        env=shell.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    dataset = json.loads(done.stdout)
    assert (dataset["images"], [one["path"] for one in dataset["left_out"]]) == (1, ["gone.png"])
    assert done.stderr.splitlines()[0] == "left out 1 of the folder:" and "  gone.png: a link that leads nowhere" in done.stderr
    (folder / "a.png").write_text("no image")
    said = shell.run("datasets", "upload", str(folder), code=1).splitlines()
    assert said[-1].startswith("error: ds_") and "failed" in said[-1]
    assert "left out 1 of the folder:" in said


@pytest.mark.slow
def test_a_job_is_cancelled(shell: Shell, published: Published) -> None:
    job = published.live.train(published.dataset, epochs_first=2000)
    shell.run("jobs", "cancel", job)
    assert "cancelled" in shell.run("jobs", "follow", job, code=1)


@pytest.mark.slow
def test_training_without_a_service(tmp_path: Path) -> None:
    alone = Shell("http://127.0.0.1:9", tmp_path)
    archive = picture_zip(tmp_path / "a.zip", 24)
    alone.run("train", str(archive), "--local", "--out", str(tmp_path / "run"), *SHORT)
    assert (tmp_path / "run" / "model" / "encoder.onnx").exists()
    assert "--local needs --out" in alone.run("train", str(archive), "--local", code=2)


class Renaming(Quiet):
    """Datasets that take every change."""

    def do_PATCH(self) -> None:
        body = dict.fromkeys(Dataset.__dataclass_fields__, 0) | {"id": self.path, "status": "ready", "created_at": None}
        self.answer(200, json.dumps(body | self.read_json()).encode())


def test_a_dataset_is_renamed(tmp_path: Path) -> None:
    with answering(Renaming) as address:
        alone = Shell(f"http://{address}", tmp_path)
        changed = alone.json("datasets", "update", "ds_1", "--name", "photographs", "--metadata", '{"a": 1}')
        assert (changed["id"], changed["name"], changed["metadata"]) == ("/datasets/ds_1", "photographs", {"a": 1})
    assert "not a JSON object" in alone.run("datasets", "update", "ds_1", "--metadata", "[]", code=2)
    assert "--name, --metadata" in alone.run("datasets", "update", "ds_1", code=2)


def test_exit_codes(tmp_path: Path) -> None:
    alone = Shell("http://127.0.0.1:9", tmp_path)
    assert "is it running?" in alone.run("datasets", "list", code=3)
    assert "neither a file nor" in alone.run("neighbours", "nothing", code=2)
    assert "give images, or --all" in alone.run("classify", code=2)


@pytest.mark.slow
def test_doctor_names_what_is_wrong_and_what_to_do(shell: Shell, published: Published, tmp_path: Path) -> None:
    def checked(result: dict[str, Any], name: str) -> dict[str, Any]:
        return next(check for check in result["checks"] if check["check"] == name)

    assert shell.json("doctor")["ok"]
    alone = Shell("", tmp_path / "data")
    assert "anchorhood migrate" in checked(json.loads(alone.run_out("doctor", "--json")), "database")["advice"]
    alone.run("migrate")
    assert checked(alone.json("doctor"), "database")["state"] == "ok"
    assert checked(alone.json("doctor"), "pretrained")["found"].endswith("for init=imagenet")
    assert "behind a filter of system calls" in checked(alone.json("doctor"), "decoders")["found"]
    alone.env["ANCHORHOOD_PORT"] = "none"
    assert "ANCHORHOOD_PORT" in alone.run_out("doctor")


@pytest.mark.slow
def test_serve_api_and_worker_start(tmp_path: Path) -> None:
    """The three processes of a deployment, by the commands that a unit file or a container names."""
    live = Live(tmp_path / "data", broker_url="redis+socket:///nowhere/none.sock?virtual_host=0")
    migrate.upgrade(Settings(data_dir=tmp_path / "data").database)
    env = {**os.environ, **live.env}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "anchorhood", *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for words in (["api"], ["worker", "--queue", "tasks"])
    ]
    try:
        wait_for(lambda: any("service.api" in command for command in live.processes().values()), "the API", 30)
        wait_for(lambda: any("-m worker --queue tasks" in command for command in live.processes().values()), "the worker", 30)
    finally:
        for process in started:
            process.terminate()
            process.wait(60)


def test_every_command_has_an_example_is_documented_and_used() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    for name, command in every_command():
        assert f"Example: anchorhood {name}" in (command.help or ""), f"{name}: no example in its help"
        assert f"`anchorhood {name}" in page, f"docs/cli.md lacks {name}"
        assert '"' + '", "'.join(name.split()) + '"' in tests, f"no test runs {name}"
