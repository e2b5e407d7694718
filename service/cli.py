"""The command line ``anchorhood``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_urlsafe

import click
from sqlalchemy.exc import SQLAlchemyError

from core import keys as keyring
from core import migrate as migrations
from core.db import Database
from core.errors import AnchorhoodError
from core.models import Queue
from core.processes import die_with_parent
from core.settings import Settings


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
    """Run the API (ANCHORHOOD_API_PROCESSES processes), for a deployment with a database and a broker of its own."""
    from service.supervisor import require_keys

    try:
        require_keys(Settings.load())
    except SQLAlchemyError as error:  # it may come later; until then nobody gets in
        click.echo(f"warning: the database does not answer yet: {type(error).__name__}", err=True)
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


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def secrets(folder: Path) -> None:
    """Write a random database password and an admin key into a folder, once; what is there stays.

    Example: anchorhood secrets /secrets
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("database-password", token_urlsafe(32)), ("admin-key", keyring.generate())):
        with suppress(FileExistsError):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(text + "\n")
        click.echo(f"{folder / name}")


@commands.group()
def keys() -> None:
    """API keys. From the first one on, every request needs one."""


@keys.command("create")
@click.argument("name")
@click.option("--scope", type=click.Choice([scope.value for scope in keyring.Scope]), required=True, help="What it may do.")
@click.option("--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Make the key in this file valid.")
def create_key(name: str, scope: str, key_file: Path | None) -> None:
    """Make a key and show it, this once.

    read: look and ask. write: also upload, label, train, delete images. admin: also delete datasets and models.

    Example: anchorhood keys create laptop --scope write
    """
    text = key_file.read_text().strip() if key_file else keyring.generate()
    with _database() as db, db.write() as session:
        key = keyring.add(session, name, keyring.Scope(scope), text)
    click.echo(f"{key.id}: valid since {key.created_at:%Y-%m-%d}" if key_file else text)


@keys.command("list")
def list_keys() -> None:
    """Show every key's id, scope, last use and name; the keys themselves are not kept.

    Example: anchorhood keys list
    """
    with _database() as db, db.read() as session:
        for key in keyring.every(session):
            state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "valid"
            used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
            click.echo(f"{key.id}  {key.scope:5}  {state:18}  made {key.created_at:%Y-%m-%d}  last used {used:16}  {key.name}")


@keys.command("revoke")
@click.argument("id")
def revoke_key(id: str) -> None:
    """End a key's validity, within a second in every process.

    Example: anchorhood keys revoke 0123456789ab
    """
    with _database() as db, db.write() as session:
        keyring.revoke(session, id)
    click.echo(f"{id}: revoked")


@contextmanager
def _database() -> Iterator[Database]:
    settings = Settings.load()
    migrations.upgrade(settings.database)
    db = Database(settings.database)
    try:
        yield db
    finally:
        db.dispose()


def main() -> None:
    """Run a command; a domain error is one line on stderr and exit code 1."""
    try:
        commands()
    except AnchorhoodError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
