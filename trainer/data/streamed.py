"""Large images, decoded for every step by loader processes."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.data.augment import Augmentation
from trainer.data.decoded import DecodedImages, Plan, fill
from trainer.data.images import ImageList, ImageRef

_SAMPLE = 1024  # images whose moments stand for the collection's where not all are decoded beforehand


@dataclass
class StreamedImages:
    """Images decoded for every step, cropped at full resolution by Pillow in loader processes that run ahead."""

    images: Sequence[ImageRef]
    sizes: Tensor
    loaders: int
    choice: str
    waited: float = field(default=0.0, init=False)
    _loader: Any = field(default=None, init=False)
    _sampler: "_PlanSampler" = field(default_factory=lambda: _PlanSampler(), init=False)

    def augmented(self, plan: Plan, side: int, device: torch.device) -> Iterator[Tensor]:
        ahead: deque[Augmentation] = deque()  # of the steps that the loaders are at

        def boxes() -> Iterator[tuple[list[int], NDArray[np.float32]]]:
            for rows, augmentation in plan:
                ahead.append(augmentation)
                yield rows.tolist(), augmentation.boxes.numpy()

        self._sampler.plan = boxes()
        if self._loader is None:
            self._loader = DataLoader(
                _Crops(self.images, side),
                batch_size=None,
                sampler=self._sampler,
                num_workers=self.loaders,
                multiprocessing_context="spawn",  # a fork of a process that has used torch's threads may hang
                persistent_workers=True,
                collate_fn=_as_is,
                worker_init_fn=_in_loader,
            )
        for array in self._timed(iter(self._loader)):
            images = torch.from_numpy(array).to(device, non_blocking=True).permute(0, 3, 1, 2).float().mul_(1 / 255)
            augmentation = ahead.popleft()
            mirrored = augmentation.flips.to(device).view(-1, 1, 1, 1)
            yield augmentation.colour(torch.where(mirrored, images.flip(-1), images))

    def _timed(self, arrays: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        while True:
            started = time.monotonic()
            array = next(arrays, None)
            self.waited += time.monotonic() - started
            if array is None:
                return
            yield array

    def moments(self) -> tuple[Tensor, Tensor]:
        """Of evenly spaced images, at a side of 64."""
        step = max(1, len(self.images) // _SAMPLE)
        chosen = ImageList(self.images[::step])
        pixels = np.empty((len(chosen.images), 3, 64, 64), np.uint8)
        fill(pixels, chosen, None)
        return DecodedImages(torch.from_numpy(pixels), self.sizes).moments()


class _PlanSampler:
    """What the loader processes are to make next; a new plan for each epoch, the same processes."""

    plan: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self.plan


class _Crops(Dataset[NDArray[np.uint8]]):
    def __init__(self, images: Sequence[ImageRef], side: int) -> None:
        self.images, self.side = images, side

    def __getitem__(self, step: Any) -> NDArray[np.uint8]:
        """Rows and boxes (b, 4) of one step to uint8 (b, S, S, 3)."""
        rows, boxes = step
        crops = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for number, (row, (left, top, width, height)) in enumerate(zip(rows, boxes, strict=True)):
            image = self.images[row].decode()
            box = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
            inside = (*box[:2], min(box[2], image.width), min(box[3], image.height))
            crops[number] = image.resize((self.side, self.side), Image.Resampling.BILINEAR, tuple(map(float, inside)))
        return crops


def _as_is(array: Any) -> Any:
    return array


def _in_loader(number: int) -> None:
    """Leave the process group: a signal to it is for the training process, which ends at a step's end and its loaders with
    it. Should it be killed, they notice within seconds."""
    os.setpgid(0, 0)
