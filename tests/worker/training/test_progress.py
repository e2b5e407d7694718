"""The estimate of a job's end, fed as a trainer would feed it, on a clock of the test's own."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from worker.training.costs import Work
from worker.training.progress import JUDGED_FIRST, PHASE_OF, PUBLISHED_FIRST, Estimate, typical

WORK = Work(2000, 32, 32, "resnet10", 128, rounds=4, epochs=30, voters=2000, classes=10, pretrained=True)
ADAPTED = replace(WORK, epochs=20, as_loaded=True)
FROZEN = Work(3000, 224, 224, "efficientnet_lite0", 128, rounds=1, epochs=0, voters=3000, classes=10, as_loaded=True)


class Run:
    """A job whose steps take multiples of what they cost; asked every half second."""

    def __init__(
        self, paces: Mapping[str, float], learned: Mapping[str, float], before: dict[str, Any] | None = None, work: Work = WORK
    ) -> None:
        self.time = 100.0
        self.work = work
        self.estimate = Estimate(before, learned, lambda: self.time)
        self.told: list[tuple[float, dict[str, Any]]] = []
        costs = work.costs()
        for step in JUDGED_FIRST if work.judged_first else PUBLISHED_FIRST:
            self._through(step, sum(costs[step].values()) * paces.get(step, 1.0))
        self.errors = [
            abs(told["eta_seconds"] - (self.time - at)) / (self.time - at)
            for at, told in self.told
            if told["eta_seconds"] is not None and self.time - at > 1
        ]

    def _through(self, step: str, seconds: float) -> None:
        if not seconds:
            return
        reports = step in ("decoding", "epochs", "encoding", "mapping", "rounds")
        begun = self.time
        if step != "starting":
            self.estimate.advance(step)
        while self.time < begun + seconds:
            self.told.append((self.time, self.estimate.progress()))
            self.time = min(begun + seconds, self.time + 0.5)
            if reports:
                self.estimate.advance(step, (self.time - begun) / seconds)
        if step == "starting":
            self.estimate.advance(step, 1.0)
            self.estimate.plan(self.work)


@pytest.mark.parametrize("work", [WORK, ADAPTED], ids=["published first", "judged first"])
@pytest.mark.parametrize("pace", [0.3, 1.0, 4.0])
def test_the_first_job_of_a_machine_is_estimated_by_its_own_speed(pace: float, work: Work) -> None:
    run = Run(dict.fromkeys(JUDGED_FIRST, pace), {}, work=work)
    assert median(run.errors) < 1 / 3
    phases = list(dict.fromkeys(told["phase"] for _, told in run.told))
    assert phases[:3] == ["preparing", "training", "exporting"]
    assert phases[3:] == [
        *(["evaluating"] if work.judged_first else []),
        "indexing",
        "publishing",
        *([] if work.judged_first else ["evaluating"]),
    ]
    fractions = [told["fraction"] for _, told in run.told]
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] < 1
    for phase in PHASE_OF.values():
        parts = [told["phase_fraction"] for _, told in run.told if told["phase"] == phase]
        assert parts == sorted(parts) and parts[0] >= 0 and parts[-1] <= 1
    assert run.estimate.finished()["fraction"] == 1.0


def test_later_jobs_learn_what_each_step_takes_here() -> None:
    paces = dict(zip(JUDGED_FIRST, [0.5, 3, 2, 4, 0.4, 3, 0.3, 5, 6, 0.2, 0.5, 7, 2, 2], strict=True))
    first = Run(paces, {})
    learned = typical([first.estimate.paces()])
    again = Run(paces, learned)
    assert max(again.errors) < 0.15 < max(first.errors)
    assert again.told[20][1]["eta_seconds"] is not None
    twice_as_busy = Run({step: 2 * pace for step, pace in paces.items()}, learned)
    assert median(twice_as_busy.errors) < 1 / 3


def test_a_further_attempt_does_not_fall_back() -> None:
    first = Run({}, {})
    half = next(told for _, told in first.told if told["fraction"] > 0.5)
    again = Run({}, {}, half)
    assert all(told["fraction"] >= half["fraction"] for _, told in again.told)


def test_a_step_that_hangs_is_not_promised_to_end_now() -> None:
    run = Run({"writing": 20.0}, typical([Run({}, {}).estimate.paces()]))
    writing = [told["eta_seconds"] for _, told in run.told if told["phase"] == "exporting"]
    assert writing[-1] > 5


def test_what_trains_nothing_is_estimated_by_what_it_encodes() -> None:
    run = Run(dict.fromkeys(JUDGED_FIRST, 3.0), {}, work=FROZEN)
    assert median(run.errors) < 1 / 3
    assert any(told["eta_seconds"] is not None for _, told in run.told if told["phase"] == "preparing")
    again = Run(dict.fromkeys(JUDGED_FIRST, 3.0), typical([run.estimate.paces()]), work=FROZEN)
    assert "epochs" not in run.estimate.paces() and max(again.errors) < 0.15


def test_the_pretrained_encoder_takes_time_only_where_it_is_compared_with() -> None:
    def seconds(work: Work) -> float:
        return sum(work.costs()["frozen"].values())

    assert seconds(WORK) > 0
    assert seconds(replace(WORK, pretrained=False)) == seconds(FROZEN) == seconds(replace(WORK, voters=10**6)) == 0
