"""Drawn birds of many kinds, to try the fine-grained recipe of docs/reproduction.md without CUB-200: a kind is its colours, the
bars of its wing and the shape of its tail; pictures of it differ in place, size, turn, light and background."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
_DRAWN = 2  # pixels that are drawn for each that is kept


def bird(kind: int, number: int, side: int) -> Image.Image:
    """Picture ``number`` of a kind, a square of so many pixels; the same whenever it is asked for."""
    of_kind, of_picture = np.random.default_rng([kind, 0]), np.random.default_rng([kind, 1, number])
    body, head, wing, bars = (_colour(of_kind) for _ in range(4))
    count, tail, beak = int(of_kind.integers(0, 6)), of_kind.uniform(0.2, 0.6), of_kind.uniform(0.05, 0.2)
    scale = side * _DRAWN
    coarse = of_picture.integers(90, 166) + of_picture.normal(0, 8, (4, 4, 3))
    picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((scale, scale), Image.Resampling.BICUBIC)
    drawn = Image.new("RGBA", (scale, scale))
    draw = ImageDraw.Draw(drawn)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return left * scale, top * scale, right * scale, bottom * scale

    draw.polygon([(0.35 * scale, 0.5 * scale), ((0.35 - tail) * scale, 0.42 * scale), ((0.35 - tail) * scale, 0.6 * scale)], wing)
    draw.ellipse(box(0.25, 0.35, 0.72, 0.68), body)
    draw.polygon([(0.82 * scale, 0.3 * scale), ((0.84 + beak) * scale, 0.35 * scale), (0.82 * scale, 0.39 * scale)], bars)
    draw.ellipse(box(0.63, 0.22, 0.86, 0.45), head)
    draw.ellipse(box(0.74, 0.28, 0.78, 0.32), (0, 0, 0))
    draw.ellipse(box(0.32, 0.42, 0.6, 0.62), wing)
    for bar in range(count):
        at = 0.36 + 0.22 * bar / max(1, count - 1)
        draw.rectangle(box(at, 0.46, at + 0.02, 0.58), bars)
    size = int(scale * of_picture.uniform(0.75, 1))
    drawn = drawn.resize((size, size)).rotate(of_picture.uniform(-20, 20), Image.Resampling.BILINEAR)
    if of_picture.random() < 0.5:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    place = of_picture.integers(0, scale - size + 1, 2)
    picture.paste(drawn, (int(place[0]), int(place[1])), drawn)
    lit = np.asarray(picture.resize((side, side), Image.Resampling.BOX)) * of_picture.uniform(0.7, 1.2)
    return Image.fromarray((lit + of_picture.normal(0, 6, lit.shape)).clip(0, 255).astype(np.uint8))


def _colour(random: np.random.Generator) -> Colour:
    red, green, blue = random.integers(20, 236, 3).tolist()
    return red, green, blue


def write(folder: Path, kinds: int, images: int, side: int) -> None:
    """Write pictures as ``kind/number.png``, as CUB-200 has its classes."""
    for kind in range(kinds):
        (folder / f"{kind + 1:03}.kind").mkdir(parents=True, exist_ok=True)
        for number in range(images):
            bird(kind, number, side).save(folder / f"{kind + 1:03}.kind" / f"{number:03}.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.made_classes", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", type=int, default=200)
    parser.add_argument("--images", type=int, default=20, help="of each kind")
    parser.add_argument("--side", type=int, default=64, help="pixels")
    arguments = parser.parse_args(argv)
    write(arguments.folder, arguments.kinds, arguments.images, arguments.side)


if __name__ == "__main__":
    main()
