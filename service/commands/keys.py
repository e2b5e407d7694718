"""``anchorhood keys`` and ``secrets``: on the machine of the service, with its database."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import click

from anchorhood.commands.console import emit, json_option
from core.errors import BadRequest
from core.settings import Settings
from core.store import keys as keyring
from core.store import migrate
from core.store.db import Database
from core.store.tables import ApiKey
from service.commands.operator import Operator, Operators


@click.command(cls=Operator)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@json_option
def secrets(folder: Path, as_json: bool) -> None:
    """Write a random database password and an admin key into a folder, once; what is there stays.

    Example: anchorhood secrets /secrets
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "database-password", folder / "admin-key"]
    for path, text in zip(paths, (token_urlsafe(32), keyring.generate()), strict=True):
        aside = folder / f".{path.name}-{os.getpid()}"
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # whole or not there, and never another in its place
            os.link(aside, path)
        aside.unlink()
    emit(as_json, {"files": [str(path) for path in paths]}, map(str, paths))


@click.group(cls=Operators)
def keys() -> None:
    """API keys. From the first one on, every request needs one."""


@keys.command("create")
@click.argument("name")
@click.option("--scope", type=click.Choice([scope.value for scope in keyring.Scope]), required=True, help="What it may do.")
@click.option("--key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Make the key in this file valid.")
@json_option
def create_key(name: str, scope: str, key_file: Path | None, as_json: bool) -> None:
    """Make a key and show it, this once.

    read: look and ask. write: also upload, label, train, delete images. admin: also delete datasets and models.

    Example: anchorhood keys create laptop --scope write
    """
    text = _key_in(key_file) if key_file else keyring.generate()
    with _database() as db, db.write() as session:
        key = keyring.add(session, name, keyring.Scope(scope), text)
    shown = f"{key.id}: valid since {key.created_at:%Y-%m-%d}" if key_file else text
    emit(as_json, _described(key) | ({} if key_file else {"key": text}), [shown])


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Show every key's id, scope, last use and name; the keys themselves are not kept.

    Example: anchorhood keys list
    """
    with _database() as db, db.read() as session:
        listed = keyring.list_all(session)
    emit(as_json, [_described(key) for key in listed], map(_line, listed))


@keys.command("revoke")
@click.argument("key")
@json_option
def revoke_key(key: str, as_json: bool) -> None:
    """End a key's validity, by its id or its name, within a second in every process.

    Example: anchorhood keys revoke 0123456789ab
    """
    with _database() as db, db.write() as session:
        revoked = keyring.revoke(session, _id_of(key, keyring.list_all(session)))
    emit(as_json, _described(revoked), [f"{revoked.id}: revoked"])


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


def _described(key: ApiKey) -> dict[str, Any]:
    names = ("id", "name", "scope", "created_at", "last_used_at", "revoked_at")
    return {name: getattr(key, name) for name in names}


def _line(key: ApiKey) -> str:
    state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "valid"
    used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
    return f"{key.id}  {key.scope:5}  {state:18}  made {key.created_at:%Y-%m-%d}  last used {used:16}  {key.name}"


def _database() -> Database:
    settings = Settings.load()
    migrate.upgrade(settings.database)
    return Database(settings.database)
