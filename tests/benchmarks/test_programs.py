"""Every benchmark as a program, at tiny size: without the network and without the images of shared/data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import free_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# A measure of what is fast or small says nothing at this size; only that it is there.
SERVICE = {
    "ingest": {"ingest_images_per_s", "ingest_peak_mib", "ingest_peak_mib_small_archive"},
    "first": {"first_answer_seconds"},
    "queries": {"vectors", "candidates", "recall_at_10", "p99_over_p50", "vs_empty_route", "vs_bare_route"},
    "processes": {f"{name}_of_two_processes" for name in ("per_second", "p50", "p99")},
    "fashion": {"fashion_mnist"},
    "growth": {"growth", "open_seconds_1m"},
}


def run(*arguments: str, code: int = 0) -> str:
    """What a benchmark prints."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_trainer() -> None:
    figures = json.loads(run("benchmarks.trainer", "--tiny").splitlines()[-1])
    assert figures.pop("data_wait_fraction") is None  # it needs photographs
    assert {name for name in figures if name.startswith("threads")} == {
        *("threads_digits_alone", "threads_digits_beside_busy", "threads_digits_two_at_once")
    }
    assert len(figures) == 11 and all(value >= 0 for value in figures.values())


def test_gpu(tmp_path: Path) -> None:
    """Without a GPU every part that says nothing of one runs on the processor, and the others say why they do not."""
    path = tmp_path / "gpu.json"
    printed = json.loads(run("benchmarks.gpu", "--tiny", "--out", str(path)).splitlines()[-1])
    assert printed == json.loads(path.read_text())
    parts = printed["parts"]
    assert not [part for part in parts.values() if "failed" in part]
    if printed["cuda"] is None or printed["memory_gib"] is None:
        run_here = {"steps": "step_ratio", "discovery": "ratio", "ranks": "run_seconds"}
        assert all(parts[name][figure] > 0 for name, figure in run_here.items())
        assert all(parts[name]["not_run"] for name in parts if name not in run_here)
    assert list(parts) == ["tests", "steps", "compile", "memory", "discovery", "faiss", "ranks", "cifar10"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts of one benchmark keep what they prepare."""
    return tmp_path_factory.mktemp("bench-service")


@pytest.mark.parametrize("part", SERVICE)
def test_service(part: str, work: Path) -> None:
    if part in ("queries", "processes", "fashion") and shutil.which("wrk") is None:
        pytest.skip("wrk makes the load of this part; .ci/run installs it")
    arguments = ("--tiny", "--only", part, "--no-peers", "--work", str(work), "--port", str(free_port()))
    figures = json.loads(run("benchmarks.service", *arguments).splitlines()[-1])
    assert set(figures) == SERVICE[part]
    if part == "queries":
        assert figures["recall_at_10"] == 1
    if part == "fashion":
        assert all(set(one["per_second"]) == {"faiss", "in_process", "http"} for one in figures["fashion_mnist"].values())
    if part == "first":
        assert {"validating", "first search", "all", "judged"} < set(figures["first_answer_seconds"])  # a phase may pass unseen
    if part == "growth":
        assert [row["recall_at_10"] for row in figures["growth"]] == [1, 1]


def test_hostile() -> None:
    """What is asked for here is what a few seconds show; how little memory the rest costs is the benchmark's to say."""
    names = ("trailers", "wrong_labels", "unknown_names", "part_names", "labels_csv", "job_list", "leave_one_out", "mutations")
    only = [argument for name in names for argument in ("--only", name)]
    found = json.loads(run("benchmarks.hostile", "--tiny", "--port", str(free_port()), *only).splitlines()[-1])
    assert set(found["attacks"]) == set(names[:-1])
    assert all(set(one) == {"mib", "stall_ms", "answer"} for one in found["attacks"].values())
    assert found["mutated_requests"] == 60 and found["mutated_files"] == 41
    assert (found["answers_5xx"], found["crashes"]) == (0, 0)


def test_progress() -> None:
    (first, again) = json.loads(run("benchmarks.progress", "--tiny", "--port", str(free_port())).splitlines()[-1])
    assert not first["fell"] and not again["fell"]


def test_augment() -> None:
    pytest.importorskip("kornia", reason="of the extra [bench]")
    assert len(run("benchmarks.augment", "--turns", "1").splitlines()) == 4


@pytest.mark.parametrize("arguments", ["benchmarks.service --only ingest", "benchmarks.page", "benchmarks.progress"])
def test_what_is_missing_is_one_line(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    shutil.copytree(ROOT / "benchmarks", tmp_path / "checkout/benchmarks")  # with no shared/data beside it
    command = [sys.executable, "-m", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path / "checkout", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/shared/data/") and "is missing" in line
