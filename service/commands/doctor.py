"""``anchorhood doctor``."""

import itertools
import sys

import click

from anchorhood.commands.console import emit, json_option
from service.commands.operator import Operator


@click.command(cls=Operator)
@json_option
def doctor(as_json: bool) -> None:
    """Check installation, device, pretrained weights, disk, database, broker and published files; exit code 1 where one is wrong.

    Example: anchorhood doctor
    """
    from service.operations.doctor import run

    findings, result = run()
    lines = [(f"{f.state:8}{f.check:16} {f.found}", *([f"{'':24} -> {f.advice}"] if f.advice else [])) for f in findings]
    emit(as_json, result, itertools.chain.from_iterable(lines))
    if not result["ok"]:
        sys.exit(1)
