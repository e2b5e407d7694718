"""Supervised classification. IT READS THE LABELS: it is the ceiling that the other methods are compared with."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.backbones.encoder import Encoder
from trainer.config import ConfigError, InputError, TrainConfig
from trainer.methods.method import Batch, Method
from trainer.neighbourhoods import MemoryBank


class Supervised(Method):
    """Cross-entropy of a linear classifier on the features; images without a label teach nothing."""

    labels: Tensor  # int64 (N,), -1 for none; of an export, which is given no labels, those of the checkpoint

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64) if labels is None else labels)
        classes = 0 if labels is None else int(labels.max()) + 1
        self.classifier = nn.Linear(encoder.head.in_features, max(1, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes)."""
        logits: Tensor = self.classifier(self.encoder.pooled(images))
        return logits

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        logits, targets = self.bank.ranks.attached(outputs, len(batch.rows)), self.labels[batch.rows]
        # A batch without labels has a loss of zero, and a gradient of zero.
        return F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum") / (targets >= 0).sum().clamp(min=1)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``.

        Raises:
            InputError: it learned from other labels.
        """
        saved, weight = state["tensors"]["labels"], state["tensors"]["classifier.weight"]
        if not len(self.labels):
            self.labels = saved.to(self.labels.device)
            self.classifier = nn.Linear(weight.shape[1], weight.shape[0])
        if not torch.equal(self.labels.cpu(), saved):
            raise InputError("cannot resume: the labels differ from those of the checkpoint; use another --out")
        super().restore(state)


METHOD = Supervised


def class_numbers(labels: Sequence[str | None] | None) -> Tensor:
    """int64 (N,): the place of each image's label among all labels in order, -1 for none.

    Raises:
        ConfigError: there are fewer than two classes.
    """
    names = sorted({label for label in labels or [] if label is not None})
    if labels is None or len(names) < 2:
        raise ConfigError(f"method: supervised learns from labels of two classes or more, and there are {len(names)}")
    number = {name: place for place, name in enumerate(names)}
    return torch.tensor([-1 if label is None else number[label] for label in labels])


def labels_read(method: str, targets: Tensor) -> str:
    """The warning that such a run begins with; ``targets`` as of ``class_numbers``."""
    read = int((targets >= 0).sum())
    return f"method {method} READS THE LABELS of {read:,} images: its figures are a ceiling, and on these images worth nothing"
