"""``anchorhood demo``."""

from pathlib import Path

import click

from service.commands.operator import Operator


@click.command(cls=Operator)
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to train on; CLASS/file.")
@click.option("--eval", "held_out", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A zip to judge on.")
@click.option("--pretrained", is_flag=True, help="Start from what photographs have taught already.")
@click.option("--frozen", is_flag=True, help="Train nothing: search and judge with those weights as they are.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True)
def demo(data: Path | None, held_out: Path | None, pretrained: bool, frozen: bool, out: Path) -> None:
    """Train on scikit-learn's digits, or on a zip of your own, and show what came of it.

    Example: anchorhood demo --data photos.zip --pretrained
    """
    from service.operations.demo import run

    params = {**({"init": "imagenet"} if pretrained or frozen else {}), **({"method": "frozen"} if frozen else {})}
    run(data, held_out, out, params)
