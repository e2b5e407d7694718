"""Our batched augmentation against kornia's and torchvision's, images per second in one run: ``make bench-augment``.

Every image has parameters of its own in all of them: torchvision's v2 transforms draw once for a batch and are therefore
applied image by image; kornia draws for each image but in one order of the colour adjustments for the whole batch.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import kornia.augmentation as kornia
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from trainer.config import TrainConfig
from trainer.data.augment import Augmentation
from trainer.data.decoded import DecodedImages
from trainer.randomness import generator
from trainer.resolve import resolve


def ours(pixels: Tensor, side: int) -> Callable[[], object]:
    store = DecodedImages(pixels, torch.full((len(pixels), 2), float(pixels.shape[-1])))
    config = resolve(TrainConfig.make({"preset": "paper", "image_size": side, "device": "cpu"}), 1000, side)
    rows = torch.arange(len(pixels))

    def run() -> object:
        drawn = Augmentation.draw(store.sizes, config, generator(0, "bench"))
        return next(store.augmented([(rows, drawn)], side, torch.device("cpu")))

    return run


def kornias(pixels: Tensor, side: int) -> Callable[[], object]:
    transform = nn.Sequential(
        kornia.RandomResizedCrop((side, side), scale=(0.2, 1.0)),
        kornia.ColorJitter(0.4, 0.4, 0.4, 0.4),
        kornia.RandomGrayscale(p=0.2),
        kornia.RandomHorizontalFlip(),
    )
    return lambda: transform(pixels.float() / 255)


def torchvision(pixels: Tensor, side: int) -> Callable[[], object]:
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.2, 1.0), antialias=True),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.4),
            v2.RandomGrayscale(0.2),
            v2.RandomHorizontalFlip(),
        ]
    )
    return lambda: torch.stack([transform(image) for image in pixels]).float() / 255


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augment", description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="of which the median counts")
    turns = parser.parse_args(argv).turns
    contenders = {"ours": ours, "kornia": kornias, "torchvision v2": torchvision}
    print(f"{'images':<26}" + "".join(f"{name:>18}" for name in contenders) + "   images/s, then the ratio to ours")
    for batch, source, side in ((128, 32, 32), (32, 32, 32), (64, 336, 224)):
        pixels = torch.randint(0, 256, (batch, 3, source, source), dtype=torch.uint8)
        works = [make(pixels, side) for make in contenders.values()]
        spent: list[list[float]] = [[] for _ in works]
        for turn in range(turns + 2):
            for times, work in zip(spent, works, strict=True):
                started = time.perf_counter()
                work()
                if turn >= 2:
                    times.append(time.perf_counter() - started)
        speeds = [batch / statistics.median(times) for times in spent]
        title = f"{batch} of {source} to {side} pixels"
        print(f"{title:<26}" + "".join(f"{speed:>10.0f} ({speed / speeds[0]:4.2f})" for speed in speeds), flush=True)


if __name__ == "__main__":
    main()
