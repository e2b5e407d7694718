"""Commands of the server whose errors are one line on stderr and exit code 1."""

from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from anchorhood.commands.console import fail
from core.errors import BadSettings, DomainError


class Operator(click.Command):
    """A command; what is wrong with settings, arguments or the database is said in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DomainError as error:
            fail(error)
        except SQLAlchemyError as error:
            fail(BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {getattr(error, 'orig', None) or error}"))


class Operators(Operator, click.Group):
    """A group of them."""
