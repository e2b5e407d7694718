"""How many connections to PostgreSQL each process may have open, so that all together stay below the server's limit."""

from sqlalchemy import text

from core.store.db import THREADS, Database
from core.store.kinds import Queue

WORKER = 5  # of a worker's process, of which each queue has two: the one that works and the one beside it
_API = 64  # of all API processes together, where that is not too few for each
_FEWEST = 4
_READINESS = 1  # for each API process
_SPARE = 5  # for a person, a backup, a migration


def of_api(processes: int) -> int:
    """The connections of each of some API processes: a thread that finds none free waits for one."""
    return max(_FEWEST, min(THREADS, _API // processes))


def shortage(db: Database, processes: int) -> str | None:
    """In words what is wrong where PostgreSQL allows fewer connections than API processes and one worker for each queue may open.

    Raises:
        SQLAlchemyError: the database does not answer.
    """
    if db.embedded:
        return None
    wanted = processes * (of_api(processes) + _READINESS) + 2 * len(Queue) * WORKER + _SPARE
    names = "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    with db.read() as session:
        allowed = session.scalar(text(f"SELECT {names}"))
    if allowed is None or wanted <= allowed:
        return None
    return (
        f"{processes} API processes and a worker for each queue may open {wanted} connections, and PostgreSQL allows {allowed}: "
        "raise its max_connections, or lower ANCHORHOOD_API_PROCESSES"
    )
