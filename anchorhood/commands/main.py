"""The command line ``anchorhood``."""

import click

from anchorhood.commands.audit import audit
from anchorhood.commands.console import fail, prepare
from anchorhood.commands.datasets import datasets
from anchorhood.commands.jobs import jobs
from anchorhood.commands.models import attention, evaluate, export, models
from anchorhood.commands.operators import Commands
from anchorhood.commands.search import classify, neighbours
from anchorhood.commands.train import train
from anchorhood.errors import AnchorhoodError


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="anchorhood")
@click.option("--url", envvar="ANCHORHOOD_URL", default="http://127.0.0.1:8000", show_default=True, help="Of a running service.")
@click.option("--key", envvar="ANCHORHOOD_KEY", help="An API key, where the service asks for one.")
def commands(url: str, key: str | None) -> None:
    """Image embeddings from collections nobody labelled, with retrieval and kNN classification over them.

    Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no service answers at the URL.
    """


for command in (train, datasets, jobs, models, neighbours, classify, attention, export, evaluate, audit):
    commands.add_command(command)


def main() -> None:
    """Run a command; what goes wrong with what a user gave is one line on stderr and exit code 1."""
    prepare()
    try:
        commands(prog_name="anchorhood")
    except (AnchorhoodError, OSError) as error:
        fail(error)
