"""Encoding a collection with an encoder in evaluation mode."""

from collections.abc import Iterable

import torch
from torch import Tensor

from trainer.backbones import Encoder


def encode(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Unit vectors of images in evaluation mode and full precision.

    Args:
        encoder: on ``device``; left in evaluation mode.
        batches: uint8 (B, S, S, 3) each, as ``sources.evaluation_batches`` gives them.
        device: where to compute.

    Returns:
        float32 (N, d) on the CPU.
    """
    encoder.eval()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        parts = [encoder(as_input(batch.to(device))).cpu() for batch in batches]
    return torch.cat(parts)


def as_input(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) to what an encoder takes: float32 (B, 3, S, S) in 0..1, in channels-last layout."""
    return images.permute(0, 3, 1, 2).float() / 255
