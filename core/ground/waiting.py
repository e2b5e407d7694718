"""Whether anybody still waits for what is being done. Long work asks between its steps."""

from contextvars import ContextVar


class Abandoned(Exception):
    """Work that ends where it is: its time is over, or the client is gone."""


class Wait:
    """Of one request: ``over`` becomes true once nobody waits for its answer any more."""

    over = False


_wait: ContextVar[Wait | None] = ContextVar("wait", default=None)


def set_wait(wait: Wait) -> None:
    """Set what the current context, and every thread that it hands work to, works for."""
    _wait.set(wait)


def go_on() -> None:
    """Raises ``Abandoned`` where nobody waits any more. What no request asked for always goes on."""
    wait = _wait.get()
    if wait is not None and wait.over:
        raise Abandoned("nobody waits for this answer any more")
