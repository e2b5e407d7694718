"""The benchmarks of accuracy, as programs on few images, and the arithmetic that their claims rest on."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import compare, sets
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.method import __main__ as method
from benchmarks.method import arms
from benchmarks.method.trials import ARMS, TINY, TRIALS
from benchmarks.results import Results, interval
from core.ground.methods import METHODS
from trainer.data.sources import open_source

ROOT = Path(__file__).parents[2]

KEY = {"set": "digits", "count": 300, "stage": "final", "arm": "oracle", "params": TINY["digits"].params, "seed": 0}


def test_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 6.0])
    assert found["mean"] == 3.0
    half = 4.302653 * math.sqrt(7 / 3)  # the 97.5 % quantile of t with 2 degrees of freedom; a variance of 7
    assert found["low"] == pytest.approx(3.0 - half, abs=1e-5)
    assert found["high"] == pytest.approx(3.0 + half, abs=1e-5)
    assert interval([2.0]) == {"mean": 2.0, "low": None, "high": None}


def test_the_oracle_gives_others_of_the_same_class() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0])
    found = arms.same_class(labels, 200, torch.Generator().manual_seed(0))
    assert (labels[found] == labels[:, None]).all()
    for row, others in enumerate(found):
        wanted = {other for other in range(len(labels)) if other != row and labels[other] == labels[row]}
        assert set(others.tolist()) == wanted


def test_a_failure_is_kept_and_tried_again(tmp_path: Path) -> None:
    path, key = tmp_path / "results.jsonl", {"set": "digits", "params": {"crop_scale": (0.4, 1.0)}}
    Results(path).add(key, {"failed": "no space"})
    assert Results(path).find(key) is None
    Results(path).add(key, {"knn": 0.5})
    again = Results(path)
    assert [line.get("failed", line.get("knn")) for line in again.tried(key)] == ["no space", 0.5]
    found = again.find(key)
    assert found is not None and found["knn"] == 0.5
    assert again.find({**key, "set": "other"}) is None


def test_a_prepared_set_is_what_its_archive_holds(tmp_path: Path) -> None:
    sets.prepare("digits", tmp_path)
    train, test = sets.opened("digits", tmp_path)
    assert len(train.images) + len(test.images) == 1797
    assert not {image.sha256 for image in train.images} & {image.sha256 for image in test.images}
    archive = open_source(sets.archives("digits", tmp_path)[0])
    assert train.fingerprint == archive.fingerprint
    assert [image.path for image in train.images] == [image.path for image in archive.images]
    assert train.images[7].decode().tobytes() == archive.images[7].decode().tobytes()
    rest, held_out = sets.parted(train)
    parts = [{image.sha256 for image in part.images} for part in (rest, held_out, train)]
    assert not parts[0] & parts[1] and parts[0] | parts[1] == parts[2]
    assert len(held_out.images) == len(train.images) // 5
    assert sets.drawn(train, 100).fingerprint == sets.drawn(train, 100).fingerprint
    assert {image.sha256 for image in sets.drawn(train, 100).images} < {image.sha256 for image in sets.drawn(train, 300).images}


def test_a_run_that_cannot_begin_is_a_result_with_its_reason(tmp_path: Path) -> None:
    sets.prepare("digits", tmp_path)
    done: list[tuple[Any, Any]] = []
    bad = {**KEY, "params": {**KEY["params"], "temperature": -1}}
    arms.each([bad], lambda key, result: done.append((key, result)), tmp_path, tmp_path / "runs")
    assert done == [(bad, {"failed": "ConfigError: temperature: -1 is outside 0.01 to 10"})]


@pytest.mark.slow
def test_arms_share_a_first_round_and_the_oracle_is_always_right(tmp_path: Path) -> None:
    sets.prepare("digits", tmp_path)
    results: dict[str, Any] = {}
    keys = [{**KEY, "arm": arm} for arm in ARMS]
    arms.each(keys, lambda key, result: results.update({key["arm"]: result}), tmp_path, tmp_path / "runs")
    assert {result["images_seen"] for result in results.values()} == {900}
    assert results["oracle"]["consistency"] == [1.0, 1.0]
    assert results["instance"]["consistency"] == []
    assert len({result["map"] for result in results.values()}) == len(ARMS)
    assert all(0.05 < value < 0.7 for value in results["and"]["consistency"])
    assert list((tmp_path / "runs").iterdir()) == []
    again: list[Any] = []
    arms.each([keys[0]], lambda key, result: again.append(result), tmp_path, tmp_path / "runs")
    assert {**again[0], "seconds": 0} == {**results["and"], "seconds": 0}


def test_the_tables_of_the_comparison_are_those_of_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["--show", "--work", str(tmp_path)])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    written = (ROOT / "docs/comparison.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 20
    assert [row for row in rows if row not in written] == []


@pytest.mark.slow
def test_the_method_benchmark_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.jsonl"
    arguments = ["--tiny", "--only", "digits", "--seeds", "2", "--work", str(tmp_path), "--results", str(results)]
    method.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert set(summary) == set(TRIALS)
    assert summary["fashion"] is None and any("--only fashion" in line for line in lines)
    for name in ("few5", "map", "knn"):
        found = summary["digits"][name]
        assert found["low"] < found["mean"] < found["high"]
    assert tuple(summary["digits"]["instance_temperatures"]) in TINY["digits"].temperatures
    kept = results.read_text().splitlines()
    assert len(kept) == 2 + 2 * len(ARMS)
    results.write_text("\n".join(kept[:-1]) + "\n")  # as if it had been stopped before the last one
    method.main([*arguments, "--show"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["digits"] is None
    method.main(arguments)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
    assert len(results.read_text().splitlines()) == len(kept)


@pytest.mark.slow
def test_the_accuracy_benchmark_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, plot = tmp_path / "results.jsonl", tmp_path / "plot.png"
    arguments = ["--tiny", "--work", str(tmp_path), "--results", str(results), "--plot", str(plot)]
    accuracy.main([*arguments, "--only", "how_many"])
    out = capsys.readouterr().out
    summary = json.loads(out.splitlines()[-1])
    assert summary["over_lightly"] is None and "--only lightly" in out
    assert summary["cifar10_10k_knn"] is None  # its second seed is still to be run
    assert set(summary["how_many"]["trained from nothing (quick)"]) == {"1000", "3000", "10000", "50000"}
    assert plot.read_bytes().startswith(b"\x89PNG")
    kept = results.read_text()
    accuracy.main([*arguments, "--only", "how_many"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == summary
    assert results.read_text() == kept
    accuracy.main([*arguments, "--only", "cifar10_10k"])
    assert 0.1 < json.loads(capsys.readouterr().out.splitlines()[-1])["cifar10_10k_knn"] < 1


@pytest.mark.slow
def test_lightly_has_the_time_that_ours_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightly", reason="of the extra [bench]")
    arguments = ["--tiny", "--work", str(tmp_path), "--results", str(tmp_path / "results.jsonl")]
    accuracy.main([*arguments, "--only", "lightly"])
    assert "comes first" in capsys.readouterr().out
    for part in ("cifar10_10k", "lightly"):
        accuracy.main([*arguments, "--only", part])
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert not any("failed" in line for line in lines)
    best = max(value for name, value in summary["lightly"].items() if name != "seconds")
    assert summary["over_lightly"] == pytest.approx(summary["cifar10_10k_knn"] - best)


@pytest.mark.slow
def test_every_method_is_compared_and_nothing_runs_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--tiny", "--work", str(tmp_path), "--results", str(tmp_path / "compare.jsonl")]
    compare.main(command)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["digits"]
    assert set(summary) == {name for name in compare.COMPARED if not METHODS[name].needs_colour}
    for name, found in summary.items():
        assert found is not None, f"{name} failed"
        assert all(0 < found[measure] <= 1 for measure in ("knn", "few5", "map", "linear"))
        assert found["seconds"] > 0 and (found["images_per_second"] > 0) == METHODS[name].trains
    lines = (tmp_path / "compare.jsonl").read_text()
    compare.main(command)
    assert (tmp_path / "compare.jsonl").read_text() == lines


def test_all_methods_see_equally_many_images() -> None:
    seen = set()
    for name in compare.COMPARED:
        params, facts = compare.key_of("cifar10_10k_2k", name, 0, tiny=False)["params"], METHODS[name]
        if facts.trains:
            rounds = 1 if facts.one_round else 3
            seen.add(facts.views * (params["epochs_first"] + (rounds - 1) * params.get("epochs", 0)))
    assert seen == {compare.EPOCHS}
