"""The command line ``anchorhood``."""

import os
import sys
from pathlib import Path

import click

from core import migrate as migrations
from core.errors import AnchorhoodError
from core.models import Queue
from core.processes import die_with_parent
from core.settings import Settings
from service.local import is_loopback


@click.group()
def commands() -> None:
    """Image embeddings from collections nobody labelled, with retrieval and kNN classification over them."""


@commands.command()
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
    from service.supervisor import serve as run

    if parent_pipe is not None:
        die_with_parent(parent_pipe)
    run(Settings.load())


@commands.command()
def api() -> None:
    """Run one API process, for a deployment with a database and a broker of its own."""
    settings = Settings.load()
    if not is_loopback(settings.host):
        raise click.ClickException(f"ANCHORHOOD_HOST: {settings.host} can be reached by others, and there are no API keys")
    os.execv(sys.executable, [sys.executable, "-m", "service.api"])  # noqa: S606


@commands.command()
@click.option("--queue", type=click.Choice([queue.value for queue in Queue]), required=True)
def worker(queue: str) -> None:
    """Run one worker: "training" one job at a time on a device, "tasks" everything else."""
    os.execv(sys.executable, [sys.executable, "-m", "worker", "--queue", queue])  # noqa: S606


@commands.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    migrations.upgrade(Settings.load().database)


@commands.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to train on; CLASS/file.")
@click.option("--eval", "held_out", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to judge on.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True)
def demo(data: Path | None, held_out: Path | None, out: Path) -> None:
    """Train on scikit-learn's digits, or on a zip of your own, and show what came of it."""
    from service.demo import run

    run(data, held_out, out)


def main() -> None:
    """Run a command; a domain error is one line on stderr and exit code 1."""
    try:
        commands()
    except AnchorhoodError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
