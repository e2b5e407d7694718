"""The number of threads follows the machine, and a resumed run takes again what the interrupted one took."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.ground.folders import Position, RunFolder
from core.ground.reports import Plan, Step
from tests.trainer.runs import SMALL, embeddings
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.machine import threads
from trainer.machine.threads import Threads, choose, cpus, free_cpus, numbers_to_try
from trainer.progress import Progress
from trainer.run import Run
from trainer.train import Stopped, train

ALONE = {4: 1200.0, 2: 1000.0, 1: 600.0}
SMALL_IMAGES = {4: 900.0, 2: 1200.0, 1: 1650.0}
BESIDE_ANOTHER = {4: 220.0, 2: 500.0, 1: 550.0}


class Machine:
    """Asks for a number of threads, and takes what a step takes then."""

    def __init__(self) -> None:
        self.choice = choose([4, 2, 1])
        self.number = next(self.choice)

    def after(self, seconds: float, speeds: dict[int, float]) -> int:
        """The number in force when that much time has passed at such speeds."""
        while seconds > 0:
            taken = 16 / speeds[self.number]
            self.number = self.choice.send((16, taken))
            seconds -= taken
        return self.number


@pytest.mark.parametrize(("speeds", "best"), [(ALONE, 4), (SMALL_IMAGES, 1), (BESIDE_ANOTHER, 1)])
def test_the_fastest_number_is_taken(speeds: dict[int, float], best: int) -> None:
    machine = Machine()
    assert machine.after(5, speeds) == best
    assert machine.after(60, speeds) == best


def test_it_follows_the_machine() -> None:
    machine = Machine()
    assert machine.after(20, ALONE) == 4
    assert machine.after(20, BESIDE_ANOTHER) == 1, "the speed fell"
    assert machine.after(130, ALONE) == 4, "nothing falls when others leave: it is tried anew after two minutes"


def test_a_short_dip_changes_nothing() -> None:
    machine = Machine()
    machine.after(20, ALONE)
    seen = set()
    for _ in range(20):
        seen.add(machine.after(3, {number: speed / 3 for number, speed in ALONE.items()}))
        seen.add(machine.after(6, ALONE))
    assert seen == {4}


def test_trying_costs_little_where_fewer_threads_are_hopeless() -> None:
    choice, tried = choose([64, 32, 16, 8, 4, 2, 1]), []
    number = next(choice)
    for _ in range(2000):
        tried.append(number)
        number = choice.send((16, 16 / (number * 100)))
    assert set(tried) == {64, 32}


@pytest.mark.parametrize(("most", "numbers"), [(1, [1]), (2, [2, 1]), (6, [6, 4, 2, 1]), (8, [8, 4, 2, 1])])
def test_powers_of_two_below_the_most_are_tried(most: int, numbers: list[int]) -> None:
    assert numbers_to_try(most) == numbers


def test_a_containers_share_of_the_processors_is_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(threads, "CGROUP_LIMIT", limit)
    bound = cpus()
    for text, expected in (("max 100000", bound), ("100000 100000", 1), ("50000 100000", 1), (f"{64 * 10**5} 100000", bound)):
        limit.write_text(text + "\n")
        assert cpus() == expected, text


def test_what_others_use_is_not_free() -> None:
    assert 1 <= free_cpus() <= cpus()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        time.sleep(1)  # until all of them run
        assert free_cpus() == 1
    finally:
        for child in busy:
            child.kill()
            child.wait()


class Seen(Progress):
    """Notes torch's number of threads at each step of training."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def at(self, step: Step, done: float, plan: Plan | None = None) -> None:
        if step == "epochs":
            self.numbers.append(torch.get_num_threads())


needs_two = pytest.mark.skipif(cpus() < 2, reason="there is one processor")
Training = Callable[..., tuple[list[int], Run | None]]


@pytest.fixture
def trained(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """Trains with up to two threads, chosen anew all the time; returns each step's number, and the run unless it was stopped."""
    monkeypatch.setattr(threads, "_TRIED_SECONDS", 0.0)
    monkeypatch.setattr(threads, "_HOPELESS", 0.0)
    monkeypatch.setattr(threads, "_WATCHED_SECONDS", 0.0)
    monkeypatch.setattr(threads, "_AGAIN_SECONDS", 0.0)
    listed = open_source(pictures)

    def run(out: Path, *earlier: Path, stop_after: int = 1000, fixed: bool = False) -> tuple[list[int], Run | None]:
        torch.set_num_threads(2)
        seen, left = Seen(), iter(range(1000))
        config = TrainConfig.make({**SMALL, "epochs_first": 4})
        try:
            done = train(
                config,
                listed,
                out,
                resume_from=earlier,
                should_stop=lambda: next(left) >= stop_after,
                progress=seen,
                fixed_threads=fixed,
            )
        except Stopped:
            return seen.numbers, None
        return seen.numbers, done[1]

    return run


@pytest.mark.slow
@needs_two
def test_a_run_can_be_made_again_from_what_it_took(trained: Training, tmp_path: Path, pictures: Path) -> None:
    numbers, run = trained(tmp_path / "1")
    assert set(numbers) == {1, 2}
    assert torch.get_num_threads() == 2, "all of them, for what follows"
    (tmp_path / "2").mkdir()
    RunFolder(tmp_path / "2").threads.write_bytes(RunFolder(tmp_path / "1").threads.read_bytes())
    again, same = trained(tmp_path / "2")
    assert again == numbers
    assert run and same and (embeddings(run, pictures) == embeddings(same, pictures)).all()


@pytest.mark.slow
@needs_two
@pytest.mark.parametrize("stop_after", [2, 9])
def test_a_resumed_run_takes_what_the_interrupted_one_took(trained: Training, tmp_path: Path, stop_after: int) -> None:
    """A checkpoint is older than the interruption: the steps between are made again, with the same numbers."""
    interrupted, _ = trained(tmp_path / "1", stop_after=stop_after)
    shutil.rmtree(tmp_path / "1" / "checkpoints")  # as if it had been killed before it wrote one
    resumed, run = trained(tmp_path / "2", tmp_path / "1")
    assert run is not None
    told = stop_after // 3 * 3  # three steps an epoch: those of epochs that were told of
    assert resumed[:told] == interrupted[:told]
    shutil.rmtree(tmp_path / "2" / "checkpoints")
    replayed, _ = trained(tmp_path / "3", tmp_path / "1", tmp_path / "2")
    assert replayed == resumed, "of several attempts the newest counts"


@needs_two
def test_a_fixed_number_stays(trained: Training, tmp_path: Path) -> None:
    numbers, _ = trained(tmp_path, fixed=True)
    assert set(numbers) == {2}
    assert not RunFolder(tmp_path).threads.exists()


@needs_two
def test_another_machines_choices_are_not_taken(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    path = RunFolder(tmp_path).threads
    path.write_text('{"round": 0, "epoch": 0, "step": 0, "threads": 64}\n')
    assert Threads.of_run(tmp_path, [], torch.device("cpu"), fixed=False).taken == {}
    path.write_text('{"round": 0, "epoch": 3, "step": 0, "threads": 1}\n{"round": 0, "ep')
    assert Threads.of_run(tmp_path, [], torch.device("cpu"), fixed=False).taken == {Position(0, 3): 1}, "a torn line"
