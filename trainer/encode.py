"""Encoding a collection with an encoder in evaluation mode."""

import torch
from torch import Tensor

from trainer.backbones import Encoder
from trainer.sources import ImageList, evaluation_batches


def encode(encoder: Encoder, images: ImageList, device: torch.device) -> Tensor:
    """Unit vectors of all images in their order, float32 (N, d) on the CPU, in full precision and without augmentation."""
    side = int(encoder.image_size)
    encoder.eval()
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        parts = [encoder(as_input(batch.to(device))).cpu() for batch in evaluation_batches(images, side)]
    return torch.cat(parts)


def as_input(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) to what an encoder takes: float32 (B, 3, S, S) in 0..1, in channels-last layout."""
    return images.permute(0, 3, 1, 2).float() / 255
