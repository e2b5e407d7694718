"""Encoding a collection with an encoder in evaluation mode."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainer.backbones import Encoder


def encode(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Unit vectors of images in evaluation mode and full precision.

    Args:
        encoder: on ``device``; left in evaluation mode.
        batches: uint8 (B, S, S, 3) each, as ``pixels.evaluation_batches`` gives them.
        device: where to compute.

    Returns:
        float32 (N, d) on the CPU.
    """
    return torch.cat([embeddings for embeddings, _ in _encoded(encoder, batches, device)])


def encode_blocks(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """As ``encode``, and beside the unit vectors the last block's features, averaged over the image: float32 (N, C)."""
    embeddings, blocks = zip(*_encoded(encoder, batches, device), strict=True)
    return torch.cat(embeddings), torch.cat(blocks)


def _encoded(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    encoder.eval()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for batch in batches:
            features = encoder.pooled(as_input(batch.to(device)))
            yield encoder.project(features).cpu(), features.cpu()


def as_input(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) to what an encoder takes: float32 (B, 3, S, S) in 0..1, in channels-last layout."""
    return images.permute(0, 3, 1, 2).float() / 255
