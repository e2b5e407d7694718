"""The commands for the machine on which a server runs. They come with the server, which the client knows only by name: where
it is not installed, each says so in one line."""

from importlib import import_module

import click

from anchorhood.commands.console import fail
from anchorhood.errors import AnchorhoodError

# Each command's name, and the module of ``service.commands`` that has it under that name.
OPERATORS = {
    **dict.fromkeys(("serve", "api", "worker", "migrate"), "system"),
    **dict.fromkeys(("keys", "secrets"), "keys"),
    **dict.fromkeys(("backup", "restore"), "backup"),
    "doctor": "doctor",
    "demo": "demo",
}
HOW_TO_INSTALL = "install it from a checkout: pip install -e '.[server,cpu]'"


class NotInstalled(AnchorhoodError):
    """A command of the server where only the client is installed."""


def operator(name: str) -> click.Command:
    """One of ``OPERATORS``.

    Raises:
        NotInstalled: the server, or something that it needs, is not installed here.
    """
    try:
        return from_server(OPERATORS[name], name)
    except ModuleNotFoundError as error:
        raise NotInstalled(f"anchorhood {name} runs a server, which is not installed here ({error}): {HOW_TO_INSTALL}") from error


def from_server(module: str, name: str) -> click.Command:
    """A command of a module of ``service.commands``.

    Raises:
        ModuleNotFoundError: it is not installed here.
    """
    command: click.Command = getattr(import_module(f"service.commands.{module}"), name)
    return command


class Commands(click.Group):
    """The client's commands, and the server's beside them; the latter are imported when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *OPERATORS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in OPERATORS:
            return super().get_command(ctx, cmd_name)
        try:
            return operator(cmd_name)
        except NotInstalled as error:
            return _refusal(cmd_name, error)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The client's commands, then the server's; of a server that is not installed only their names."""
        rows = [(name, command.get_short_help_str(200)) for name, command in sorted(self.commands.items())]
        with formatter.section("Commands at a service"):
            formatter.write_dl(rows)
        try:
            rows = [(name, operator(name).get_short_help_str(200)) for name in sorted(OPERATORS)]
        except NotInstalled:
            with formatter.section("Commands of a server, which is not installed here"):
                formatter.write_text(", ".join(sorted(OPERATORS)))
                formatter.write_text(HOW_TO_INSTALL)
        else:
            with formatter.section("Commands on the machine of a server"):
                formatter.write_dl(rows)


def _refusal(name: str, error: NotInstalled) -> click.Command:
    """A command that takes whatever it is given and says why it cannot run."""
    takes_all = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=lambda: fail(error), context_settings=takes_all, add_help_option=False, hidden=True)
