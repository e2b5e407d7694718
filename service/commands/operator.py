"""Commands of the server whose errors are one line on stderr and exit code 1."""

import os
import pwd
import socket
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from anchorhood.commands.console import fail
from core.errors import BadSettings, DomainError
from core.ground.processes import PRIVATE


class Operator(click.Command):
    """A command; what is wrong with settings, arguments or the database is said in one line, and files are its user's alone."""

    def invoke(self, ctx: click.Context) -> Any:
        before = os.umask(PRIVATE)
        try:
            return super().invoke(ctx)
        except DomainError as error:
            fail(error)
        except SQLAlchemyError as error:
            fail(BadSettings(f"ANCHORHOOD_DATABASE_URL: cannot use the database: {getattr(error, 'orig', None) or error}"))
        finally:
            os.umask(before)


class Operators(Operator, click.Group):
    """A group of them."""


def who() -> str:
    """Who runs the command, for the audit trail: user@host."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a number without a name, as containers have it
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
