"""The loop one would write from the paper: float32, NCHW, PIL transforms in two loader processes, dense softmax."""

from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class _Pictures(Dataset[tuple[Tensor, int]]):
    def __init__(self, count: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(32, scale=(0.2, 1.0)),
                transforms.ColorJitter(0.4, 0.4, 0.4, 0.4),
                transforms.RandomGrayscale(p=0.2),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), index


class TextbookLoop:
    """ResNet-18 with the small-image stem on random pictures; ``step`` is one step of round 0."""

    def __init__(self, count: int, dim: int, batch: int, temperature: float) -> None:
        self.temperature = temperature
        self.bank = F.normalize(torch.randn(count, dim), dim=1)
        self.model = torchvision.models.resnet18(num_classes=dim)
        self.model.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.model.maxpool = torch.nn.Identity()
        self.optimiser = torch.optim.SGD(self.model.parameters(), 1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
        self.loader = DataLoader(_Pictures(count), batch, shuffle=True, num_workers=2, multiprocessing_context="spawn")
        self.batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def __enter__(self) -> "TextbookLoop":
        self.batches = iter(self.loader)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.batches = iter(())  # ends the loader processes

    def step(self) -> None:
        images, rows = next(self.batches)
        z = F.normalize(self.model(images), dim=1)
        loss = F.cross_entropy(z @ self.bank.T / self.temperature, rows)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.bank[rows] = F.normalize(0.5 * self.bank[rows] + 0.5 * z, dim=1)
