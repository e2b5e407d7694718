"""The anchors of a round: what the last round's neighbours and entropies make of the samples."""

import torch

from trainer.backbones.encoder import encode
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.neighbourhoods import Discovery, MemoryBank, discover, neighbourhoods, select_anchors
from trainer.randomness import generator
from trainer.run import Run


def find_neighbours(run: Run, config: TrainConfig, images: ImageList) -> Discovery:
    """Entropy and nearest others of every image now."""
    assert config.neighbours is not None
    return discover(_discovery_bank(run, config, images), config.neighbours, config.temperature)


def choose_anchors(run: Run, config: TrainConfig, round_: int, images: ImageList) -> None:
    """The coming round's anchors, those of lowest entropy for AND, each with the nearest others found in the last round.

    The other methods are what AND is compared with: none at all, as many chosen at random, or every sample.
    """
    count, device = run.bank.count, run.bank.rows.device
    if config.method == "instance":
        run.neighbours = None
        return
    if run.nearest is None or run.nearest.shape[1] != config.neighbours:  # an extended run may look for more of them
        discovery = find_neighbours(run, config, images)
        run.entropy[-1], run.nearest = discovery.entropy.cpu(), discovery.nearest
    if config.method == "and":
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
    if config.discovery_features == "bank":
        return run.bank
    assert config.image_size is not None
    ranks = run.bank.ranks
    start, end = ranks.bounds(run.bank.count)
    mine = ImageList(images.images[start:end])
    device = run.bank.rows.device
    features = encode(run.encoder, evaluation_batches(mine, config.image_size), device).to(device)
    return MemoryBank(features, ranks=ranks, count=run.bank.count)
