"""The page's benchmark as a program, at tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import free_port

pytestmark = pytest.mark.browser


def test_the_pages_benchmark_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.page", "--tiny", "--work", str(tmp_path), "--port", str(free_port())]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"first_view", "scroll", "map"}
    assert result["scroll"]["fast"]["frames"] > 0 and result["map"]["lasso"]["frames"] > 0
