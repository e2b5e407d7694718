"""The command line ``anchorhood``."""

import os
import sys
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from anchorhood import ApiError, JobFailed, Unreachable
from core.errors import BadSettings, DomainError
from core.ground.processes import die_with_parent
from core.settings import Settings
from core.store import migrate as migrations
from core.store.kinds import Queue
from service.commands.backup import backup, restore
from service.commands.collections import datasets, jobs
from service.commands.console import emit, fail, json_option, prepare
from service.commands.jobs import classify, neighbours, train
from service.commands.keys import keys, secrets
from service.commands.models import attention, evaluate, export, models


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="anchorhood")
@click.option("--url", envvar="ANCHORHOOD_URL", default="http://127.0.0.1:8000", show_default=True, help="Of a running service.")
@click.option("--key", envvar="ANCHORHOOD_KEY", help="An API key, where the service asks for one.")
def commands(url: str, key: str | None) -> None:
    """Image embeddings from collections nobody labelled, with retrieval and kNN classification over them.

    Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no service answers at the URL.
    """


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
    from service.operations.supervisor import serve as run

    if parent_pipe is not None:
        die_with_parent(parent_pipe)
    run(Settings.load())


@commands.command()
def api() -> None:
    """Run the API (ANCHORHOOD_API_PROCESSES processes), for a deployment with a database and a broker of its own.

    Example: anchorhood api
    """
    from service.operations.supervisor import require_keys

    try:
        require_keys(Settings.load())
    except SQLAlchemyError as error:  # it may come later; until then nobody gets in
        click.echo(f"warning: the database does not answer yet: {type(error).__name__}", err=True)
    os.execv(sys.executable, [sys.executable, "-m", "service.api"])  # noqa: S606


@commands.command()
@click.option("--queue", type=click.Choice([queue.value for queue in Queue]), required=True)
def worker(queue: str) -> None:
    """Run one worker: "training" one job at a time on a device, "tasks" everything else.

    Example: anchorhood worker --queue training
    """
    os.execv(sys.executable, [sys.executable, "-m", "worker", "--queue", queue])  # noqa: S606


@commands.command()
def migrate() -> None:
    """Bring the database to the newest schema.

    Example: anchorhood migrate
    """
    migrations.upgrade(Settings.load().database)


@commands.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to train on; CLASS/file.")
@click.option("--eval", "held_out", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to judge on.")
@click.option("--pretrained", is_flag=True, help="Start from what photographs have taught already.")
@click.option("--frozen", is_flag=True, help="Train nothing: search and judge with those weights as they are.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True)
def demo(data: Path | None, held_out: Path | None, pretrained: bool, frozen: bool, out: Path) -> None:
    """Train on scikit-learn's digits, or on a zip of your own, and show what came of it.

    Example: anchorhood demo --data photos.zip --pretrained
    """
    from service.operations.demo import run

    params = {**({"init": "imagenet"} if pretrained or frozen else {}), **({"method": "frozen"} if frozen else {})}
    run(data, held_out, out, params)


@commands.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check installation, device, pretrained weights, disk, database, broker and published files; exit code 1 where one is wrong.

    Example: anchorhood doctor
    """
    from service.operations.doctor import run

    findings, result = run()
    lines = [f"{f.state:8}{f.check:16} {f.found}" + (f"\n{'':24} -> {f.advice}" if f.advice else "") for f in findings]
    emit(as_json, result, lines)
    if not result["ok"]:
        sys.exit(1)


for command in (backup, restore, keys, secrets, train, datasets, jobs, models, neighbours, classify, attention, export, evaluate):
    commands.add_command(command)


def main() -> None:
    """Run a command; what goes wrong with what a user gave is one line on stderr and exit code 1."""
    prepare()
    try:
        commands(prog_name="anchorhood")
    except (DomainError, ApiError, JobFailed, Unreachable, OSError) as error:
        fail(error)
    except SQLAlchemyError as error:
        fail(BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {getattr(error, 'orig', None) or error}"))


if __name__ == "__main__":
    main()
