"""The demo, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def test_the_demo_on_digits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anchorhood", "demo", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {
        *("few_label", "mean_average_precision", "knn_accuracy", "frozen_accuracy", "untrained_accuracy", "raw_pixel_accuracy"),
        *("k", "published_round", "chosen_by", "rounds", "anchors", "consistency"),
        *("images_per_second", "train_seconds", "job_id", "model_id", "contact_sheet"),
    }
    assert result["k"] == 20
    assert result["rounds"] == 3
    assert result["knn_accuracy"] >= 0.95
    assert result["knn_accuracy"] >= result["untrained_accuracy"] + 0.05
    assert set(result["few_label"]) == {"1", "5", "10"} and result["few_label"]["10"] > 0.8
    assert result["anchors"] == 1.0
    with Image.open(tmp_path / result["contact_sheet"]) as sheet:
        assert sheet.width > 700
        assert len(sheet.getcolors(100_000) or []) > 10
    assert "neighbours of" in done.stdout
    assert "classified" in done.stdout
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
