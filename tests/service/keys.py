"""Keys as tests make and send them, and the commands that make them."""

from click.testing import CliRunner

from anchorhood.commands.main import commands
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def make(db: Database, scope: Scope, *datasets: str) -> str:
    text = keys.generate()
    with db.write() as session:
        keys.add(session, f"for {scope}", scope, text, datasets=datasets)
    return text


def revoke(db: Database, text: str) -> None:
    with db.write() as session:
        keys.revoke(session, text.split("_")[1])


def command(*arguments: str) -> str:
    """What a command of ``anchorhood`` prints, which must succeed."""
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
