"""A run whose round 0 trains nothing and is what its weights give, those that it starts from or random ones."""

from collections.abc import Collection

import torch
from torch import Tensor

from trainer.backbones.encoder import BLOCK, Encoder, encode_features, scatter_about
from trainer.config import ConfigError, TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.machine.ranks import Ranks
from trainer.progress import Progress
from trainer.run import Run

_NOT_LEARNED = ("head.", "centre", "pixel_")  # made anew, or known


@torch.no_grad()
def begin_as_loaded(run: Run, config: TrainConfig, images: ImageList, loaded: Collection[str], progress: Progress) -> None:
    """Fill the memory bank with the embeddings of all images, by the head that was loaded or else by their principal components.

    Args:
        run: fresh, with these weights.
        config: resolved parameters.
        images: the collection.
        loaded: names of the parameters that the weights brought.
        progress: told of the images that are encoded.

    Raises:
        ConfigError: the weights are those of a part of the backbone, the embedding would be longer than there are features, or
            the weights give values that are not finite.
    """
    assert config.image_size is not None
    missing = [name for name in run.encoder.state_dict() if name not in loaded and not name.startswith(_NOT_LEARNED)]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing and config.init != "random":
        raise ConfigError(
            f"init: {config.init} has no weights for {missing[0]} of {config.backbone} at {config.image_size} pixels"
            f" ({len(missing)} are missing), which would stay as drawn at random; leave backbone and image_size out, or set them"
            " to those that the weights were learned with"
        )
    has_head = "head.weight" in loaded
    dim, width = run.encoder.head.weight.shape
    if dim > width and not has_head:
        raise ConfigError(f"dim: {dim} is more than the {width} features of the backbone's last block")
    ranks, device = run.bank.ranks, run.bank.rows.device
    start, end = ranks.bounds(run.bank.count)
    mine = ImageList(images.images[start:end])
    batches = progress.through("decoding", evaluation_batches(mine, config.image_size), len(mine.images))
    features = encode_features(run.encoder, batches, device).to(device)
    if not has_head:
        set_principal_head(run.encoder, features, ranks)
    run.bank.rows = project_all(run.encoder, features)
    if ranks.max((~torch.isfinite(run.bank.rows)).any().float()):
        raise ConfigError(f"init: {config.init} gives values that are not finite for these images")


def project_all(encoder: Encoder, features: Tensor) -> Tensor:
    """Unit vectors (N, d) of features (N, C), however many."""
    return torch.cat([encoder.project(block) for block in torch.split(features, BLOCK)])


def set_principal_head(encoder: Encoder, features: Tensor, ranks: Ranks) -> None:
    """Make the head the projection on the first d principal components, z = W (x - mean), scaled to a mean norm of 1, so that one
    learning rate suits every backbone; not whitened, since that harms retrieval (docs/method.md).

    Args:
        encoder: its head maps C features to d dimensions, at most C.
        features: (N, C), or this rank's part of them.
        ranks: that each have a part.
    """
    dim = encoder.head.out_features
    blocks = torch.split(features, BLOCK)
    count = ranks.sum(features.new_tensor(len(features), dtype=torch.float64))
    mean = ranks.sum(features.sum(dim=0, dtype=torch.float64)) / count
    _, vectors = torch.linalg.eigh(ranks.sum(scatter_about(features, mean)))  # ascending
    axes = vectors[:, -dim:].flip(1).T  # (d, C)
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()  # the largest entry positive: one sign everywhere
    norms = torch.stack([((block.double() - mean) @ axes.T).norm(dim=1).sum() for block in blocks]).sum()
    norm = (ranks.sum(norms) / count).clamp(min=1e-12)
    encoder.get_buffer("centre").copy_(mean)
    encoder.head.weight.copy_(axes / norm)
    encoder.head.bias.zero_()
