"""Where an encoder looks, round by round: gradient-weighted activations of an image's similarity to its neighbour, as in
Grad-CAM (Selvaraju et al. 2017), each position by its own gradient (LayerCAM, Jiang et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.ground.folders import RunFolder
from trainer import checkpoints
from trainer.backbones.encoder import Encoder, as_input
from trainer.backbones.resnet import build_encoder
from trainer.config import InputError, TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList, ImageRef
from trainer.resolve import resolve_device

FINEST = 7  # positions a side, as the last stage of a residual network has them at 224 pixels
Pair = tuple[ImageRef, ImageRef]


@dataclass(frozen=True)
class Attention:
    """What the encoders of R rounds look at in P images.

    ``rounds`` int64 (R,); ``image_ids`` and ``neighbour_ids`` int64 (P,); ``maps`` float32 (P, R, h, w) in 0..1, over the
    centre crop that the encoder sees; ``similarities`` float32 (P, R), the cosine of image and neighbour.
    """

    rounds: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    neighbour_ids: NDArray[np.int64]
    maps: NDArray[np.float32]
    similarities: NDArray[np.float32]


def attention(run_dir: Path, pairs: Sequence[Pair], device: str = "auto") -> Attention:
    """Maps of each image's similarity to its neighbour, for the encoder at the end of every round that is finished.

    Args:
        run_dir: the run's folder.
        pairs: images, each with its neighbour.
        device: where to compute, as in the configuration.

    Raises:
        InputError: no finished round in the folder.
    """
    rounds, maps, similarities = [], [], []
    for number, path in _ends(run_dir):
        state = checkpoints.load(path)
        encoder = build_encoder(TrainConfig.make(run=state["config"]))
        encoder.load_state_dict(state["encoder"])
        of_round = _of_pairs(encoder, pairs, resolve_device(device))
        rounds.append(number)
        maps.append(of_round[0])
        similarities.append(of_round[1])
    return Attention(
        np.array(rounds, np.int64),
        np.array([image.id for image, _ in pairs], np.int64),
        np.array([neighbour.id for _, neighbour in pairs], np.int64),
        torch.stack(maps, dim=1).numpy(),
        torch.stack(similarities, dim=1).numpy(),
    )


def neighbours(run_dir: Path, images: ImageList, wanted: Sequence[ImageRef]) -> list[Pair]:
    """Each image with the one that it was last trained towards, or where it never was an anchor, with the nearest one found at
    the end of the last round.

    Args:
        run_dir: the run's folder.
        images: the images that it was trained on.
        wanted: some of them.

    Raises:
        InputError: no finished round in the folder, or it was trained on other images.
    """
    state = checkpoints.load(_ends(run_dir)[-1][1])
    if state["images"] != images.fingerprint:
        raise InputError(f"{run_dir} was trained on other images than the ones given")
    row_of = {image.sha256: row for row, image in enumerate(images.images)}
    towards, nearest = state["trained_towards"][:, 0], state["nearest"][:, 0]
    omega = torch.where(towards >= 0, towards, nearest).tolist()
    return [(image, images.images[omega[row_of[image.sha256]]]) for image in wanted]


def similarity_maps(encoder: Encoder, images: Tensor, towards: Tensor) -> tuple[Tensor, Tensor]:
    """What in each image brings it near to a vector z, by the gradient of x.z with respect to the features A of a stage, where
    x is the embedding before it is divided by its norm:

        M_ij = ReLU(sum_c ReLU(d(x.z) / dA_cij) A_cij) / max M        (Jiang et al. 2021, equations 5 to 7)

    The norm is left out since with it moving towards z counts for nothing where x points there already. The stage is the
    deepest with at least ``FINEST`` positions a side, or else the finest. A map is zero where nothing brings x nearer to z.

    Args:
        encoder: left in evaluation mode, and its parameters without gradients.
        images: float32 (B, 3, S, S) in 0..1.
        towards: unit vectors z (B, d).

    Returns:
        Maps float32 (B, h, w) in 0..1, and the cosines of x and z (B,).
    """
    encoder.eval().requires_grad_(False)
    stages: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], features: Tensor) -> None:
        stages.append(features.requires_grad_())

    hooks = [stage.register_forward_hook(keep) for stage in encoder.stages()]
    try:
        x = encoder.linear(encoder.pooled(images))  # (B, d)
    finally:
        for hook in hooks:
            hook.remove()
    features = next((stage for stage in reversed(stages) if stage.shape[-1] >= FINEST), stages[0])  # (B, C, h, w)
    products = (x * towards).sum(dim=1)
    (gradient,) = torch.autograd.grad(products.sum(), features)  # images do not meet in evaluation mode
    maps = (gradient.relu() * features.detach()).sum(dim=1).relu()
    peaks = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(peaks > 0, peaks, 1), (products / x.norm(dim=1)).detach()


def _of_pairs(encoder: Encoder, pairs: Sequence[Pair], device: torch.device) -> tuple[Tensor, Tensor]:
    encoder.to(device)
    side = int(encoder.image_size)
    firsts, seconds = (evaluation_batches(ImageList(images), side) for images in zip(*pairs, strict=True))
    found = []
    for batch, other in zip(firsts, seconds, strict=True):
        with torch.no_grad():
            encoder.eval()
            towards = encoder(as_input(other.to(device)))
        maps, similarities = similarity_maps(encoder, as_input(batch.to(device)), towards)
        found.append((maps.cpu(), similarities.cpu()))
    every_map, every_similarity = zip(*found, strict=True)
    return torch.cat(every_map), torch.cat(every_similarity)


def _ends(run_dir: Path) -> list[tuple[int, Path]]:
    ends = checkpoints.round_ends(RunFolder(run_dir).checkpoints)
    if not ends:
        raise InputError(f"{run_dir}: no checkpoint of a finished round in it")
    return ends
