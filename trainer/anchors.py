"""The anchors of a round: what the last round's neighbours and entropies make of the samples."""

import torch
from torch import Tensor

from core.ground.methods import METHODS
from trainer.backbones.encoder import encode, encode_features
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.neighbourhoods import Discovery, MemoryBank, discover, neighbourhoods, select_anchors
from trainer.randomness import generator
from trainer.run import Run
from trainer.start import project_all, set_principal_head

_WITH_ANCHORS = ("and", "superand", "random_anchors", "all_anchors")


def find_neighbours(run: Run, config: TrainConfig, images: ImageList) -> Discovery:
    """Entropy and nearest others of every image now."""
    assert config.neighbours is not None
    return discover(_discovery_bank(run, config, images), config.neighbours, config.temperature)


def features_of_all(run: Run, config: TrainConfig, images: ImageList) -> Tensor:
    """The last block's features of every image as they are now, averaged over the image, (N, C), on every rank."""
    return run.bank.ranks.gather(_features(run, config, images), run.bank.count)


@torch.no_grad()
def embed_anew(run: Run, config: TrainConfig, images: ImageList) -> None:
    """For a method that does not fill the memory bank: put every image's embedding there, by a head made of the features'
    principal components where the method trains none."""
    features = _features(run, config, images)
    if not METHODS[config.method].trains_head:
        set_principal_head(run.encoder, features, run.bank.ranks)
    run.bank.rows = project_all(run.encoder, features)


def _features(run: Run, config: TrainConfig, images: ImageList) -> Tensor:
    """The last block's features of this rank's images."""
    assert config.image_size is not None
    device = run.bank.rows.device
    run.bank.ranks.share_buffers(run.encoder)  # each rank's moments of batch norm are those of its own images
    return encode_features(run.encoder, evaluation_batches(_part(run, images), config.image_size), device).to(device)


def choose_anchors(run: Run, config: TrainConfig, round_: int, images: ImageList) -> None:
    """The coming round's anchors, those of lowest entropy for AND, each with the nearest others found in the last round.

    Other methods have none at all, as many chosen at random, or every sample.
    """
    count, device = run.bank.count, run.bank.rows.device
    if config.method not in _WITH_ANCHORS:
        run.neighbours = None
        return
    if run.nearest is None or run.nearest.shape[1] != config.neighbours:  # an extended run may look for more of them
        discovery = find_neighbours(run, config, images)
        run.entropy[-1], run.nearest = discovery.entropy.cpu(), discovery.nearest
    if config.method in ("and", "superand"):
        anchors = select_anchors(run.entropy[-1], config.select_rate, round_)
    elif config.method == "random_anchors":
        chance = torch.rand(count, generator=generator(config.seed, "anchors"))
        anchors = select_anchors(chance, config.select_rate, round_)
    else:
        anchors = torch.arange(count)
    run.neighbours = neighbourhoods(run.nearest, anchors.to(device))
    run.anchor_round[anchors[run.anchor_round[anchors] < 0]] = round_
    run.trained_towards[anchors] = run.nearest[anchors.to(device)].cpu()


def _discovery_bank(run: Run, config: TrainConfig, images: ImageList) -> MemoryBank:
    """What neighbours are sought in: the memory bank, or every image encoded anew."""
    if config.discovery_features == "bank" or not run.method.fills_bank:
        return run.bank
    assert config.image_size is not None
    device = run.bank.rows.device
    features = encode(run.encoder, evaluation_batches(_part(run, images), config.image_size), device).to(device)
    return MemoryBank(features, ranks=run.bank.ranks, count=run.bank.count)


def _part(run: Run, images: ImageList) -> ImageList:
    """This rank's."""
    start, end = run.bank.ranks.bounds(run.bank.count)
    return ImageList(images.images[start:end])
