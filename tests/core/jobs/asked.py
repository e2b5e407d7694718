"""Signals of a job that a test gives, one each time that the job asks whether to stop."""

from collections.abc import Callable

from core.jobs.context import Signals


class Asked(Signals):
    """Answers what ``answer`` returns."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        super().__init__()
        self._answer = answer

    def should_stop(self) -> bool:
        return self._answer()
