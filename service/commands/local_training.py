"""``anchorhood train --local``: on the machine that has the trainer, without a service."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from fastapi.exceptions import RequestValidationError

from anchorhood.commands.console import emit
from anchorhood.commands.train import advise
from service.bodies import validated
from service.schemas.jobs import ParamsCheck


@click.command()
def train_here(path: Path, out: Path, params: dict[str, Any], as_json: bool) -> None:
    """Train on a folder or an archive, by the trainer in a process of its own; the model is in ``out/model``."""
    try:
        validated(ParamsCheck, {"params": params})
    except RequestValidationError as error:
        first = error.errors()[0]
        raise click.BadParameter(f"{first['loc'][-1]}: {first['msg']}", param_hint="--param") from error
    advise(params, not as_json)
    options = [part for key, value in params.items() for part in (f"--{key.replace('_', '-')}", *_words(value))]
    command = [sys.executable, "-m", "trainer", "run", str(path), "--out", str(out), *options]
    code = subprocess.run(command, stdout=sys.stderr if as_json else None, check=False).returncode
    if code:
        sys.exit(1)
    emit(as_json, {"model": str(out / "model")}, [f"model in {out / 'model'}"])


def _words(value: Any) -> list[str]:
    return [
        str(item).lower() if isinstance(item, bool) else str(item) for item in (value if isinstance(value, list) else [value])
    ]
