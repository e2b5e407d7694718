"""The pixels of a collection: random crops for training, whole images for evaluation.

Images live decoded in memory while they fit a budget, small ones beyond it in a memory-mapped file, and large ones are
decoded by loader processes for every step.
"""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.decoded import DecodedImages, Plan, fill
from trainer.data.images import ImageList
from trainer.data.streamed import StreamedImages
from trainer.machine.ranks import Ranks
from trainer.machine.threads import cpus
from trainer.progress import Progress

MEMORY_BUDGET = 4 << 30  # bytes of decoded pixels kept in memory
SMALL_CROP = 64  # pixels
SMALL_SIDE = 96  # images stored at up to this side are worth a memory map: a page holds a good part of one


class PixelStore(Protocol):
    """Gives the augmented images of one step after another."""

    @property
    def sizes(self) -> Tensor:
        """float32 (N, 2), true width and height."""

    @property
    def choice(self) -> str:
        """How the images are kept, and why, in words."""

    @property
    def waited(self) -> float:
        """Seconds spent waiting for loader processes so far."""

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        """Images for each step of a plan, augmented as it says: float32 (b, 3, side, side) in 0..1 on ``device``."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel in 0..1, (3,) each."""


def open_store(
    listed: ImageList,
    side: int,
    scratch: Path,
    ranks: Ranks,
    device: torch.device,
    budget: int = MEMORY_BUDGET,
    progress: Progress | None = None,
) -> PixelStore:
    """Choose how to keep the images, by the bytes they take decoded.

    Args:
        listed: the collection.
        side: S, pixels of a training crop.
        scratch: folder for a memory-mapped file, which is unlinked as soon as it is open.
        ranks: the processes that train together; those of one machine share one map.
        device: where crops are made; on a CPU large ones cost less from Pillow than from matrix products.
        budget: bytes of decoded pixels to keep in memory.
        progress: told of the images that are decoded beforehand.
    """
    # Up to 1.5 times the crop where the files hold that much detail.
    stored = max(side, min(listed.median_side, side * 3 // 2))
    size = len(listed.images) * 3 * stored**2
    measured = f"{len(listed.images):,} images of {stored} x {stored} are {_mib(size)} decoded"
    loaders = max(1, min(16, cpus()) // ranks.size)
    if side > SMALL_CROP and device.type == "cpu":
        why = f"crops of {side} on a CPU: decoded by {loaders} loader processes"
        return StreamedImages(listed.images, _sizes(listed), loaders, f"{measured}, {why}")
    if size <= budget and ranks.size == 1:
        pixels = np.empty((len(listed.images), 3, stored, stored), np.uint8)
        fill(pixels, listed, progress)
        return DecodedImages(torch.from_numpy(pixels), _sizes(listed), f"{measured}: in memory (budget {_mib(budget)})")
    room = shutil.disk_usage(scratch).free // 2
    if size <= budget or (stored <= SMALL_SIDE and size <= room):
        pixels = _shared_map(listed, stored, scratch, ranks, progress)
        why = "shared by the ranks" if size <= budget else f"over the budget of {_mib(budget)}"
        return DecodedImages(torch.from_numpy(pixels), _sizes(listed), f"{measured}, {why}: in a memory-mapped file")
    why = f"{measured}, over the budget of {_mib(budget)}: decoded by {loaders} loader processes"
    return StreamedImages(listed.images, _sizes(listed), loaders, why)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _sizes(listed: ImageList) -> Tensor:
    return torch.tensor([(image.width, image.height) for image in listed.images], dtype=torch.float32)


def _shared_map(listed: ImageList, side: int, scratch: Path, ranks: Ranks, progress: Progress | None) -> NDArray[np.uint8]:
    """One memory-mapped file for all ranks of this machine; its first rank decodes into it."""
    path = scratch / f"pixels-{os.environ.get('GROUP_RANK', '0')}.u8"
    shape = (len(listed.images), 3, side, side)
    first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if first_here:
        with open(path, "wb") as file:  # all of it now: a full disk is an error here, and SIGBUS in a mapping
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            file.truncate(math.prod(shape))
        fill(np.memmap(path, np.uint8, "r+", shape=shape), listed, progress)
    ranks.wait()
    pixels = np.memmap(path, np.uint8, "r+", shape=shape)
    ranks.wait()
    if first_here:
        path.unlink()  # the mappings stay, and go with the processes
    return pixels
