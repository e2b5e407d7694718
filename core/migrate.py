"""Bringing the database to the newest schema."""

from alembic import command
from alembic.config import Config

from core.errors import BadSettings


def config(url: str) -> Config:
    """Alembic's configuration for a database; the scripts lie in the package ``migrations``."""
    result = Config()
    result.set_main_option("script_location", "migrations:")
    result.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return result


def upgrade(url: str) -> None:
    """Apply every migration that is missing.

    Raises:
        BadSettings: the database cannot be reached.
    """
    from sqlalchemy.exc import OperationalError

    try:
        command.upgrade(config(url), "head")
    except OperationalError as error:
        raise BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {error.orig}") from error
