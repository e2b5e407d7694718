"""How far a training job is and when it will end: a model of what each step costs, corrected by what was measured.

Every step has a cost in seconds of an arbitrary reference machine, made of parts: training passes, decoded images, and other work
of the processor. What a step took in earlier jobs of this deployment, and the speed of this job so far, correct it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import cast

from core.ground.reports import Epoch, EpochProgress, JobProgress, Phase, Step
from worker.training.costs import Parts, Work

PHASE_OF: dict[Step, Phase] = {
    "starting": "preparing",
    "decoding": "preparing",
    "epochs": "training",
    "encoding": "exporting",
    "mapping": "exporting",
    "writing": "exporting",
    "loading": "evaluating",
    "rounds": "evaluating",
    "last": "evaluating",
    "untrained": "evaluating",
    "frozen": "evaluating",
    "pixels": "evaluating",
    "indexing": "indexing",
    "publishing": "publishing",
}
# What is published needs no judging, but where that chooses between a start from weights and what was adapted.
_JUDGING = tuple(step for step, phase in PHASE_OF.items() if phase == "evaluating")
PUBLISHED_FIRST: tuple[Step, ...] = (*(step for step in PHASE_OF if step not in _JUDGING), *_JUDGING)
JUDGED_FIRST: tuple[Step, ...] = tuple(PHASE_OF)
_EPOCH = EpochProgress.__annotations__.keys()  # kept of an epoch's event
_MEASURED, _TRUSTED = 1.0, 2.0  # seconds after which a speed counts at all, and as much as what was expected
_LEAST_SHARE = 0.2  # of a step, for its pace to be remembered
_CORRECTION = 10.0  # largest, in either direction
_UNKNOWN = 0.02  # fraction shown at most while no speed is known


def typical(earlier: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median pace of each step over earlier jobs."""
    jobs = list(earlier)
    return {step: median(paces) for step in PHASE_OF if (paces := [job[step] for job in jobs if step in job])}


class Estimate:
    """Follows one attempt at a job.

    Args:
        before: the progress in the job's row when the attempt began; the fraction shown never falls below it.
        learned: how long steps took in earlier jobs, as multiples of what they cost.
        clock: the machine's monotonic clock, which the trainer's progress is told by, too.
    """

    def __init__(
        self, before: JobProgress | None, learned: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._learned = clock, learned
        self._fraction = float(before["fraction"] or 0.0) if before and "fraction" in before else 0.0
        self._epoch = cast("EpochProgress", {name: value for name, value in (before or {}).items() if name in _EPOCH})
        self._costs: dict[Step, Parts] | None = None
        self._steps = PUBLISHED_FIRST
        self._step, self._phase_fraction = self._steps[0], 0.0
        self._begun = self._last = (clock(), 0.0)  # moment and share done
        self._took: dict[Step, tuple[float, float]] = {}  # seconds, for which share of a step

    def plan(self, work: Work) -> None:
        """Set the sizes of the job, once they are known."""
        self._costs = work.costs()
        self._steps = JUDGED_FIRST if work.judged_first else PUBLISHED_FIRST

    def advance(self, step: Step, done: float = 0.0, moment: float | None = None) -> None:
        """Note that a share of a step is done, and all steps before it."""
        moment = self._clock() if moment is None else moment
        if step != self._step:
            if self._steps.index(step) < self._steps.index(self._step):
                return
            self._took[self._step] = (moment - self._begun[0], 1 - self._begun[1])
            if PHASE_OF[step] != PHASE_OF[self._step]:
                self._phase_fraction = 0.0
            self._step, self._begun = step, (moment, done)
        self._last = (moment, done)

    def epoch(self, event: Epoch) -> None:
        """An epoch has ended."""
        self._epoch = cast("EpochProgress", {name: value for name, value in event.items() if name in _EPOCH})

    def progress(self) -> JobProgress:
        """The job's progress as its row holds it."""
        left, fraction, of_phase = None, self._fraction, self._phase_fraction
        if self._costs is not None:
            total = {step: self._expected(step) for step in self._steps}
            rest = self._remaining()
            later = sum(total[step] for step in self._steps[self._steps.index(self._step) + 1 :])
            # What trains nothing is encoded while it is decoded.
            speeds: tuple[Step, ...] = ("epochs",) if self._cost("epochs") else ("epochs", "decoding")
            measured = any(step in self._learned or self._measured(step) is not None for step in speeds)
            known = measured or self._step not in self._steps[:3]
            left = rest + later if known else None
            fraction = 1 - (rest + later) / max(sum(total.values()), rest + later, 1e-9)
            fraction = fraction if known else min(fraction, _UNKNOWN)
            steps = [step for step in self._steps if PHASE_OF[step] == PHASE_OF[self._step]]
            rest += sum(total[step] for step in steps[steps.index(self._step) + 1 :])
            of_phase = 1 - rest / max(sum(total[step] for step in steps), rest, 1e-9)
        elif self._step == "starting":
            of_phase = 0.5 * min(1.0, (self._clock() - self._begun[0]) / 10.0)
        self._fraction = max(self._fraction, min(0.999, fraction))
        self._phase_fraction = max(self._phase_fraction, min(1.0, of_phase))
        progress: JobProgress = {
            "phase": PHASE_OF[self._step],
            "phase_fraction": round(self._phase_fraction, 4),
            "fraction": round(self._fraction, 4),
            "eta_seconds": None if left is None else round(left, 1),
        }
        progress.update(self._epoch)  # type: ignore[typeddict-item]
        return progress

    def finished(self) -> JobProgress:
        """The progress of a job that has succeeded."""
        progress = self.progress()
        progress["phase_fraction"] = progress["fraction"] = 1.0
        progress["eta_seconds"] = 0.0
        return progress

    def paces(self) -> dict[str, float]:
        """How long each step took, as a multiple of its cost, for jobs to come."""
        self.advance(self._steps[-1], 1.0)
        took = {**self._took, self._step: (self._last[0] - self._begun[0], 1.0)}
        measured = {step: seconds / share for step, (seconds, share) in took.items() if share >= _LEAST_SHARE}
        costs = self._costs or {}
        known = {step: seconds for step, seconds in measured.items() if step in costs and self._cost(step)}
        return {step: round(seconds / self._cost(step), 4) for step, seconds in known.items()}

    def _cost(self, step: Step) -> float:
        """Seconds of a whole step on the reference machine."""
        assert self._costs is not None
        return sum(self._costs[step].values())

    def _expected(self, step: Step) -> float:
        """Seconds of a whole step."""
        if step in self._took and self._took[step][1] >= _LEAST_SHARE:
            return self._took[step][0] / self._took[step][1]
        assert self._costs is not None
        parts = self._costs[step]
        if step in parts:
            return (self._measured(step) or self._learned.get(step, 1.0)) * parts[step]
        return self._learned.get(step, 1.0) * sum(seconds * self._correction(by) for by, seconds in parts.items())

    def _correction(self, by: Step) -> float:
        """How many times slower than in earlier jobs the step is in this one that sets the speed of others."""
        if not self._cost(by):
            by = "decoding"  # where nothing is trained, the images are encoded while they are decoded
        measured = self._measured(by)
        if measured is None:
            return 1.0
        return min(_CORRECTION, max(1 / _CORRECTION, measured / self._learned.get(by, 1.0)))

    def _measured(self, step: Step) -> float | None:
        """The pace of a step in this attempt, of one under way together with what was expected."""
        cost = self._cost(step)
        if not cost:
            return None
        if step in self._took:
            seconds, share = self._took[step]
            return seconds / share / cost if share >= _LEAST_SHARE else None
        seconds, share = self._last[0] - self._begun[0], self._last[1] - self._begun[1]
        if step != self._step or share <= 0 or seconds < _MEASURED:
            return None
        pace = seconds / share / cost
        trust = seconds / (seconds + _TRUSTED)
        return trust * pace + (1 - trust) * self._learned[step] if step in self._learned else pace

    def _remaining(self) -> float:
        """Seconds of the step under way: by its own speed once it has one."""
        moment, done = self._last
        now = self._clock()
        measured = self._measured(self._step)
        expected = self._expected(self._step)
        if measured is not None:
            assert self._costs is not None
            measured_seconds = measured * self._cost(self._step)
            seconds = moment - self._begun[0]
            trust = 1.0 if self._step in self._costs[self._step] else seconds / (seconds + _TRUSTED)
            rest = (trust * measured_seconds + (1 - trust) * expected) * (1 - done)
            return max(rest - (now - moment), rest / 10)
        rest = expected * (1 - done)
        elapsed = now - moment
        # What takes longer than expected is not about to end: a fifth of the excess is expected to follow.
        return max(rest - elapsed, 0.0) + max(0.0, elapsed - rest) / 5
