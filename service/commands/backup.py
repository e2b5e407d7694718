"""The commands that save and bring back everything."""

import sys
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import OperationalError

from anchorhood.commands.console import emit, json_option, say
from core.errors import BadSettings
from core.settings import Settings
from core.store import audit
from core.store.db import Database
from service.commands.operator import Operator, who


@click.command(cls=Operator)
@click.argument("target", type=click.Path(path_type=Path))
@json_option
def backup(target: Path, as_json: bool) -> None:
    """Save rows and files into the new folder TARGET, while everything runs.

    Exit code 1 where the data folder lacks files that it should have; the backup holds the rest.

    Example: anchorhood backup /backups/monday
    """
    from service.operations.backup import backup as run

    about = _without_a_trace(run, target, "backup")
    emit(as_json, about, [_line(target, about)])
    for path in about["missing"]:
        say(f"warning: the data folder lacks {path}", err=True)
    if about["missing"]:
        sys.exit(1)


@click.command(cls=Operator)
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def restore(source: Path, as_json: bool) -> None:
    """Bring the backup SOURCE into an empty data folder and database, while nothing runs on them.

    Example: anchorhood restore /backups/monday
    """
    from service.operations.backup import restore as run

    about = _without_a_trace(run, source, "restore")
    emit(as_json, about, [_line(source, about)])


def _without_a_trace(run: Any, folder: Path, action: str) -> dict[str, Any]:
    settings = Settings.load()
    try:
        about: dict[str, Any] = run(settings, folder)
        with Database(settings.database) as db, db.write() as session:
            audit.add(session, action, about["created_at"], address=who())
    except OSError as error:
        raise BadSettings(f"{error.filename or folder}: {error.strerror}") from error
    except OperationalError as error:
        raise BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {error.orig}") from error
    return about


def _line(folder: Path, about: dict[str, Any]) -> str:
    counts = ", ".join(f"{about[name]:,} {name}" for name in ("images", "models", "jobs"))
    return f"{folder}: {counts}, of {about['created_at']}"
