"""``python -m trainer run`` from start to accuracy, and the words for what is wrong."""

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from core.ground.parameters import PARAMETERS
from tests.conftest import picture_zip
from trainer.__main__ import main


@pytest.fixture(scope="module")
def collapsed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run by the command line with a learning rate that makes the embedding collapse, after one that never began, and what
    was said meanwhile."""
    out = tmp_path_factory.mktemp("collapsed")
    command = [
        "run",
        str(pictures),
        "--out",
        str(out),
        "--threads",
        "1",
        "--device",
        "cpu",
        "--rounds",
        "1",
        "--epochs-first",
        "3",
    ]
    command += ["--dim", "8", "--batch-size", "40", "--learning-rate", "1"]
    with redirect_stderr(StringIO()) as said:
        assert main([*command, "--init", str(out / "none.safetensors")]) == 2
        assert main(command) == 0  # what never began binds nobody
    return out, said.getvalue().splitlines()


def test_a_collapse_is_a_warning(collapsed: tuple[Path, list[str]]) -> None:
    out, said = collapsed
    assert "cannot read weights" in said[0]
    assert any(line.startswith("warning: the embedding has collapsed") for line in said)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [event["round"] for event in events if event["type"] == "warning"] == [0]


def test_the_command_line_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "no.zip"), "--out", str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err
    few = picture_zip(tmp_path / "few.zip", 5)
    assert main(["run", str(few), "--out", str(tmp_path / "out")]) == 2
    assert "at least 16" in capsys.readouterr().err
    assert main(["run", str(few), "--out", str(tmp_path / "out"), "--rounds", "99"]) == 2
    assert "outside 1 to 20" in capsys.readouterr().err
    assert main(["run", str(few), "--out", str(few / "out")]) == 2
    assert "Not a directory" in capsys.readouterr().err
    assert main(["run", "--config", str(tmp_path / "no.json"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be read as JSON" in capsys.readouterr().err
    enough = picture_zip(tmp_path / "enough.zip", 16)
    assert main(["run", str(enough), "--out", str(tmp_path / "out"), "--init", str(few)]) == 2
    assert "cannot read weights" in capsys.readouterr().err


def test_the_command_line_from_start_to_accuracy(
    pictures: Path, collapsed: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = collapsed
    events = [json.loads(line)["type"] for line in (out / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "epoch", "epoch", "epoch", "round", "warning", "exporting", "finished"]
    plot = tmp_path / "plot.png"
    assert main(["evaluate", str(out), "--data", str(pictures), "--k", "3", "--plot", str(plot)]) == 0
    with Image.open(plot) as picture:
        assert picture.width > 500
    assert json.loads(capsys.readouterr().out)["k"] == 3


def test_the_command_line_says_what_each_parameter_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    help_ = " ".join(capsys.readouterr().out.split())
    assert "PARAM_" not in help_ and "CHECKPOINT_SECONDS" not in help_
    assert "--preset {paper,released,quick,best,large,fine-grained}" in help_
    assert "--crop-scale LEAST MOST" in help_
    for name, parameter in PARAMETERS.items():
        assert f"--{name.replace('_', '-')} " in help_
        assert parameter.help in help_
        assert not parameter.bounds or f"{parameter.help} {parameter.allowed}." in help_
