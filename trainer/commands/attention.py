"""``python -m trainer attention``: maps of a run's rounds as an NPZ file, or as a picture with the rounds side by side."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.ground import durable
from core.ground.pictures import imaging
from trainer.commands.inputs import open_and_report, read_json
from trainer.config import InputError
from trainer.data.images import ImageList, ImageRef
from trainer.data.sources import SourceError
from trainer.evaluation.attention import Attention, Pair, attention, neighbours

SIDE, GAP = 80, 4  # pixels of the picture


def attention_command(arguments: argparse.Namespace) -> int:
    """Compute the maps and write them; the file appears when it is whole."""
    given = read_json(arguments.config) if arguments.config else {}
    run, data = arguments.run or given.get("run"), arguments.data or given.get("data")
    if not run or not data:
        raise SourceError("name the run's folder and, with --data, its images")
    if arguments.out.suffix not in (".npz", ".png"):
        raise InputError(f"--out {arguments.out}: is neither an .npz nor a .png file")
    images = open_and_report(data)
    if "pairs" in given:
        pairs = _given(images, given["pairs"])
    else:
        pairs = neighbours(Path(run), images, _named(images, arguments.images))
    found = attention(Path(run), pairs, arguments.device)
    temporary = arguments.out.with_name(f".{arguments.out.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            if arguments.out.suffix == ".npz":
                np.savez(file, **asdict(found))
            else:
                strip(found, pairs).save(file, "PNG", optimize=True)
        durable.replace(temporary, arguments.out)
    except OSError as error:
        raise InputError(f"--out {arguments.out}: {error.strerror}") from error
    return 0


def strip(found: Attention, pairs: Sequence[Pair]) -> Image.Image:
    """A row for each image: it, its neighbour, and its map at the end of each round."""
    step = SIDE + GAP
    sheet = Image.new("RGB", ((2 + len(found.rounds)) * step + GAP, len(pairs) * step + GAP), "white")
    for row, pair in enumerate(pairs):
        image, neighbour = (imaging.evaluation_array(one.decode(), SIDE) for one in pair)
        cells = [Image.fromarray(image), Image.fromarray(neighbour)]
        cells += [imaging.heat_over(image, heat) for heat in found.maps[row]]
        for column, cell in enumerate(cells):
            sheet.paste(cell, (column * step + GAP, row * step + GAP))
    return sheet


def _named(images: ImageList, names: Sequence[str]) -> list[ImageRef]:
    if not names:
        raise InputError("--images: name at least one, by its path in the data")
    by_path = {image.path: image for image in images.images}
    if unknown := [name for name in names if name not in by_path]:
        raise InputError(f"--images: {unknown[0]} is no image of the data (or repeats another)")
    return [by_path[name] for name in names]


def _given(images: ImageList, pairs: Any) -> list[Pair]:
    by_id = {image.id: image for image in images.images}
    try:
        return [(by_id[first], by_id[second]) for first, second in pairs]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"pairs: is not a list of pairs of image ids of the data: {error!r}") from error
