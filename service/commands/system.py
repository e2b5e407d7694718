"""``anchorhood serve``, ``api``, ``worker`` and ``migrate``: the processes of a server, and its database's schema."""

import os
import sys
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from anchorhood.commands.console import say
from core.ground.processes import die_with_parent
from core.settings import Settings
from core.store import migrate as migrations
from core.store.kinds import Queue
from service.commands.operator import Operator


@click.command(cls=Operator)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.  [default: ./data]")
@click.option("--parent-pipe", type=int, hidden=True)
def serve(host: str | None, port: int | None, data_dir: Path | None, parent_pipe: int | None) -> None:
    """Run the whole system on this machine; Ctrl-C stops it.

    Example: anchorhood serve --port 8000
    """
    for name, value in (("HOST", host), ("PORT", port), ("DATA_DIR", data_dir)):
        if value is not None:
            os.environ[f"ANCHORHOOD_{name}"] = str(value)  # for the processes that serve starts, too
    from service.operations.supervisor import serve as run

    if parent_pipe is not None:
        die_with_parent(parent_pipe)
    run(Settings.load())


@click.command(cls=Operator)
def api() -> None:
    """Run the API (ANCHORHOOD_API_PROCESSES processes), for a deployment with a database and a broker of its own.

    Example: anchorhood api
    """
    from service.operations.supervisor import require_keys

    try:
        require_keys(Settings.load())
    except SQLAlchemyError as error:  # it may come later; until then nobody gets in
        say(f"warning: the database does not answer yet: {type(error).__name__}", err=True)
    os.execv(sys.executable, [sys.executable, "-m", "service.api"])  # noqa: S606


@click.command(cls=Operator)
@click.option("--queue", type=click.Choice([queue.value for queue in Queue]), required=True)
def worker(queue: str) -> None:
    """Run one worker: "training" one job at a time on a device, "tasks" everything else.

    Example: anchorhood worker --queue training
    """
    os.execv(sys.executable, [sys.executable, "-m", "worker", "--queue", queue])  # noqa: S606


@click.command(cls=Operator)
def migrate() -> None:
    """Bring the database to the newest schema.

    Example: anchorhood migrate
    """
    migrations.upgrade(Settings.load().database)
