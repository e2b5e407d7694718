"""Decoded images: all of a collection in memory or in a memory-mapped file, or batch by batch as an encoder sees them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.ground.pictures import imaging
from trainer.data.augment import Augmentation, crop_and_resize
from trainer.data.images import ImageList, ImageRef
from trainer.machine.threads import cpus
from trainer.progress import Progress

_ROWS_A_TASK = 64

Plan = Iterable[tuple[Tensor, Augmentation]]  # rows (b,) of each step and what to do with them


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images, uint8 (N, 3, P, P), each squashed to a square; crops undo the distortion."""

    pixels: Tensor
    sizes: Tensor
    choice: str = "in memory"
    waited: float = 0.0

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        for rows, augmentation in plan:
            pixels = self.pixels[rows].to(device, non_blocking=True)
            crops = crop_and_resize(pixels, augmentation.boxes.to(device), augmentation.flips.to(device), side)
            yield augmentation.colour(crops)

    def moments(self) -> tuple[Tensor, Tensor]:
        """From exact integer sums, so that the order of the images cannot matter."""
        total, squares, count = np.zeros(3, np.int64), np.zeros(3, np.int64), 0
        values = np.arange(256, dtype=np.int64)
        for block in torch.split(self.pixels, 4096):
            for channel in range(3):
                histogram = torch.bincount(block[:, channel].flatten(), minlength=256).numpy()
                total[channel] += int(histogram @ values)
                squares[channel] += int(histogram @ values**2)
            count += block[:, 0].numel()
        mean = total / count / 255
        deviation = np.sqrt(np.maximum(squares / count / 255**2 - mean**2, 1e-4))
        return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def fill(pixels: NDArray[np.uint8], listed: ImageList, progress: Progress | None) -> None:
    """Decode every image into its row of ``pixels``, uint8 (N, 3, P, P), squashed to a square."""
    side = pixels.shape[-1]

    def decode(row: int) -> None:
        pixels[row] = imaging.squashed_array(listed.images[row].decode(), side).transpose(2, 0, 1)

    _in_threads(decode, len(listed.images), progress)


def evaluation_batches(listed: ImageList, side: int) -> Iterator[Tensor]:
    """The images as an encoder sees them, in order: uint8 (B, side, side, 3), up to 512, fewer of large ones."""
    batch = max(8, min(512, 512 * 48**2 // side**2))
    for start in range(0, len(listed.images), batch):
        images = listed.images[start : start + batch]
        array = np.empty((len(images), side, side, 3), np.uint8)

        def fill(row: int, images: Sequence[ImageRef] = images, array: NDArray[np.uint8] = array) -> None:
            array[row] = imaging.evaluation_array(images[row].decode(), side)

        _in_threads(fill, len(images))
        yield torch.from_numpy(array)


def _in_threads(work: Callable[[int], None], count: int, progress: Progress | None = None) -> None:
    """Pillow decodes without the interpreter's lock."""

    def some(start: int) -> None:
        for row in range(start, min(start + _ROWS_A_TASK, count)):
            work(row)

    with ThreadPoolExecutor(min(8, cpus())) as pool:
        for number, _ in enumerate(pool.map(some, range(0, count, _ROWS_A_TASK)), 1):
            if progress:
                progress.at("decoding", number * _ROWS_A_TASK / count)
