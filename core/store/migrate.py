"""Bringing the database to the newest schema."""

from alembic import command
from alembic.config import Config
from sqlalchemy import URL

from core.errors import BadSettings


def config(url: str | URL) -> Config:
    """Alembic's configuration for a database; the scripts lie in the package ``migrations``."""
    result = Config(attributes={"url": url})  # not as an option: there a % would begin a reference to another option
    result.set_main_option("script_location", "migrations:")
    return result


def upgrade(url: str | URL) -> None:
    """Apply every migration that is missing.

    Raises:
        BadSettings: the database cannot be reached.
    """
    from sqlalchemy.exc import OperationalError

    try:
        command.upgrade(config(url), "head")
    except OperationalError as error:
        raise BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {error.orig}") from error
