"""A run that starts from weights as they are: its round 0 trains nothing and is what these weights give."""

import torch
from torch import Tensor

from trainer.config import ConfigError, TrainConfig
from trainer.encoder import Encoder, encode_features
from trainer.pixels import evaluation_batches
from trainer.progress import Progress
from trainer.run import Run
from trainer.sources import ImageList


@torch.no_grad()
def begin_as_loaded(run: Run, config: TrainConfig, images: ImageList, has_head: bool, progress: Progress) -> None:
    """Fill the memory bank with the embeddings of all images, by the head that was loaded or else by their principal components.

    Args:
        run: fresh, its backbone loaded.
        config: resolved parameters.
        images: the collection.
        has_head: the weights brought a head of this length.
        progress: told of the images that are encoded.

    Raises:
        ConfigError: the embedding would be longer than there are features.
    """
    assert config.image_size is not None
    ranks, device = run.bank.ranks, run.bank.rows.device
    start, end = ranks.bounds(run.bank.count)
    mine = ImageList(images.images[start:end])
    batches = progress.through("decoding", evaluation_batches(mine, config.image_size), len(mine.images))
    features = encode_features(run.encoder, batches, device).to(device)
    if not has_head:
        set_principal_head(run.encoder, ranks.gather(features, run.bank.count))
    run.bank.rows = run.encoder.project(features)


def set_principal_head(encoder: Encoder, features: Tensor) -> None:
    """Make the head the projection on the first d principal components, z = W (x - mean), scaled to a mean norm of 1, so that one
    learning rate suits every backbone; not whitened, since that harms retrieval (docs/method.md).

    Args:
        encoder: its head maps C features to d dimensions.
        features: (N, C).

    Raises:
        ConfigError: d is larger than C.
    """
    dim, width = encoder.head.weight.shape
    if dim > width:
        raise ConfigError(f"dim: {dim} is more than the {width} features of the backbone's last block")
    mean = features.double().mean(dim=0)
    centred = features.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    axes = vectors[:, -dim:].flip(1).T  # (d, C)
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()  # the largest entry positive: one sign everywhere
    norm = (centred @ axes.T).norm(dim=1).mean().clamp(min=1e-12)
    encoder.get_buffer("centre").copy_(mean)
    encoder.head.weight.copy_(axes / norm)
    encoder.head.bias.zero_()
