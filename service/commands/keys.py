"""``anchorhood keys`` and ``secrets``: on the machine of the service, with its database."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import click
from sqlalchemy.orm import Session

from anchorhood.commands.console import emit, json_option
from core.errors import BadRequest
from core.ground import durable
from core.settings import Settings
from core.store import audit, migrate
from core.store import keys as keyring
from core.store.columns import now
from core.store.db import Database
from core.store.tables import ApiKey
from service.commands.operator import Operator, Operators, who


class Duration(click.ParamType[timedelta]):
    """A number of hours, days or weeks."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", value)
        if not match:
            self.fail(f"{value!r} is no number of hours, days or weeks, such as 12h, 30d or 8w", param, ctx)
        return int(match[1]) * {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}[match[2]]


@click.command(cls=Operator)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
def secrets(folder: Path, as_json: bool) -> None:
    """Write random passwords of the database and of Redis and an admin key into a folder, once; what is there stays.

    The group of the folder may read Redis's password and nothing else.

    Example: anchorhood secrets /secrets
    """
    durable.make_folder(folder)
    folder.chmod(0o710)
    paths = [folder / "database-password", folder / "broker-password", folder / "admin-key"]
    for path, text in zip(paths, (token_urlsafe(32), token_urlsafe(32), keyring.generate()), strict=True):
        aside = folder / f".{path.name}-{os.getpid()}"
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o640 if path.name == "broker-password" else 0o600)
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # whole or not there, and never another in its place
            os.link(aside, path)
        aside.unlink()
    durable.sync(folder)
    emit(as_json, {"files": [str(path) for path in paths]}, map(str, paths))


@click.group(cls=Operators)
def keys() -> None:
    """API keys. From the first one on, every request needs one."""


@keys.command("create")
@click.argument("name")
@click.option("--scope", type=click.Choice([scope.value for scope in keyring.Scope]), required=True, help="What it may do.")
@click.option("--expires", type=Duration(), metavar="DURATION", help="When it ends: 12h, 30d, 8w.  [default: never]")
@click.option("--dataset", "datasets", multiple=True, metavar="ID", help="May see this dataset alone; repeatable, not for admin.")
@click.option("--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Make the key in this file valid.")
@json_option
def create_key(
    name: str, scope: str, expires: timedelta | None, datasets: tuple[str, ...], key_file: Path | None, as_json: bool
) -> None:
    """Make a key and show it, this once.

    read: look and ask. write: also upload, label, train, delete images. admin: also delete datasets and models.

    Example: anchorhood keys create laptop --scope write --expires 30d
    """
    text = _key_in(key_file) if key_file else keyring.generate()
    with _database() as db, db.write() as session:
        known = session.get(ApiKey, keyring.id_of(text) or "")
        key = keyring.add(session, name, keyring.Scope(scope), text, expires, datasets)
        if known is None:
            audit.add(session, "keys create", key.id, address=who())
        described = _described(session, key)
    shown = f"{key.id}: valid since {key.created_at:%Y-%m-%d}" if key_file else text
    emit(as_json, described | ({} if key_file else {"key": text}), [shown])


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Show every key's id, scope, last use and name; the keys themselves are not kept.

    Example: anchorhood keys list
    """
    with _database() as db, db.read() as session:
        described = [_described(session, key) for key in keyring.list_all(session)]
    emit(as_json, described, map(_line, described))


@keys.command("revoke")
@click.argument("key")
@json_option
def revoke_key(key: str, as_json: bool) -> None:
    """End a key's validity, by its id or its name, within a second in every process.

    Example: anchorhood keys revoke 0123456789ab
    """
    with _database() as db, db.write() as session:
        revoked = keyring.revoke(session, _id_of(key, keyring.list_all(session)))
        audit.add(session, "keys revoke", revoked.id, address=who())
        described = _described(session, revoked)
    emit(as_json, described, [f"{described['id']}: revoked"])


def _key_in(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{file}: holds no key: {error.reason}") from error


def _id_of(text: str, keys: Sequence[ApiKey]) -> str:
    """An id as it is, or that of the only valid key of a name."""
    ids = [key.id for key in keys if key.name == text and key.revoked_at is None]
    if len(ids) > 1 and text not in {key.id for key in keys}:
        raise BadRequest(f"{len(ids)} keys are called {text}; name one by its id: {', '.join(ids)}")
    return ids[0] if ids and text not in {key.id for key in keys} else text


def _described(session: Session, key: ApiKey) -> dict[str, Any]:
    """A key as JSON has it; ``datasets`` is null where it may see all."""
    names = ("id", "name", "scope", "created_at", "last_used_at", "revoked_at", "expires_at")
    datasets = keyring.datasets_of(session, key) if key.limited else None
    return {**{name: getattr(key, name) for name in names}, "datasets": datasets}


def _line(key: dict[str, Any]) -> str:
    used = f"{key['last_used_at']:%Y-%m-%d %H:%M}" if key["last_used_at"] else "never"
    seen = "" if key["datasets"] is None else f"  sees {', '.join(key['datasets']) or 'nothing any more'}"
    return (
        f"{key['id']}  {key['scope']:5}  {_state(key):18}  made {key['created_at']:%Y-%m-%d}  last used {used:16}  "
        f"{key['name']}{seen}"
    )


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {key['revoked_at']:%Y-%m-%d}"
    if not key["expires_at"]:
        return "valid"
    return f"{'expired' if key['expires_at'] <= now() else 'until'} {key['expires_at']:%Y-%m-%d}"


def _database() -> Database:
    settings = Settings.load()
    migrate.upgrade(settings.database)
    return Database(settings.database)
