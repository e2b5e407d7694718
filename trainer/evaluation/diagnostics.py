"""Figures of an embedding that need no labels, taken at the end of every round."""

import math

import torch
from torch import Tensor

from core.ground.reports import LabelFree
from trainer.config import TrainConfig
from trainer.data.augment import Augmentation
from trainer.data.pixels import PixelStore
from trainer.randomness import generator
from trainer.run import Run

_SAMPLE = 512  # images whose two random views give alignment and uniformity
_BATCH = 64
_COMPARED = 16_384  # images whose neighbours are compared at a time
ENTROPY_BINS = 40
_POINT = -0.2  # uniformity of vectors whose cosine is 0.95


def diagnose(run: Run, config: TrainConfig, store: PixelStore, round_: int, before: Tensor | None) -> LabelFree:
    """Entropy, agreement of neighbours with the round before, effective rank, alignment and uniformity.

    Args:
        run: its last ``entropy`` and ``nearest`` are those of this round.
        config: resolved parameters.
        store: the images.
        round_: the round that has ended.
        before: int64 (N, k), the nearest others at the end of the round before.
    """
    ranks = run.bank.ranks
    bank = run.bank.whole()
    # Weights taken as they are need no views to tell whether training has pulled them together.
    views = None if config.method == "frozen" else ranks.once(lambda: _views(run, config, store, round_))
    rows = torch.arange(0, len(bank), -(-len(bank) // _SAMPLE))
    agreement = None
    if before is not None and run.nearest is not None and before.shape == run.nearest.shape:
        agreement = neighbour_agreement(before, run.nearest)
    return {
        "mean_entropy": float(run.entropy[-1].mean()),
        "neighbour_agreement": agreement,
        "effective_rank": effective_rank(bank),
        "alignment": alignment(*views) if views else None,
        "uniformity": uniformity(views[0] if views else bank[rows].cpu()),
    }


def entropy_histogram(entropy: Tensor) -> list[int]:
    """Numbers of images in ``ENTROPY_BINS`` equal steps from 0 to log N nats, of (N,) entropies: how sure the embedding is of
    each image's place, and so which become anchors."""
    most = math.log(max(len(entropy), 2))
    counts: list[int] = torch.histc(entropy.float().clamp(0, most), ENTROPY_BINS, 0, most).long().tolist()
    return counts


def collapse_warning(figures: LabelFree, largest: int, trained: bool) -> str | None:
    """Plain words if the embedding has collapsed to a point or to few of the largest possible number of dimensions (d, or
    N where there are fewer images), else ``None``; what to do about it depends on whether it was ``trained``."""
    rank, spread = figures["effective_rank"] or 0.0, figures["uniformity"] or 0.0
    advice = "lower learning_rate or temperature" if trained else "the weights it starts from hardly tell these images apart"
    if spread > _POINT:
        return f"the embedding has collapsed to a point (uniformity {spread:.2f}); {advice}"
    if rank < max(1.5, largest / 20):
        return f"the embedding has collapsed to about {rank:.1f} of {largest} dimensions; {advice}"
    return None


def effective_rank(embeddings: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli 2007), from 1 to d, of (N, d) rows."""
    values = torch.linalg.eigvalsh((embeddings.T @ embeddings).double()).clamp(min=0).sqrt()
    shares = values / values.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of two views' unit vectors, (B, d) each (Wang and Isola 2020, alpha 2); less is better."""
    return float((first - second).square().sum(dim=1).mean())


def uniformity(embeddings: Tensor) -> float:
    """log of the mean of exp(-2 |x - y|^2) over all pairs of unit rows (B, d) (Wang and Isola 2020, t 2); less is better."""
    distances = torch.pdist(embeddings).square()
    return float(torch.logsumexp(-2 * distances, dim=0) - math.log(len(distances)))


def neighbour_agreement(before: Tensor, after: Tensor) -> float:
    """Mean fraction of an image's k nearest others, int64 (N, k) each, that are the same as before."""
    blocks = zip(torch.split(before, _COMPARED), torch.split(after, _COMPARED), strict=True)
    same = sum(int((old[:, :, None] == new[:, None, :]).any(dim=2).sum()) for old, new in blocks)
    return same / before.numel()


@torch.no_grad()
def _views(run: Run, config: TrainConfig, store: PixelStore, round_: int) -> tuple[Tensor, Tensor]:
    """Two augmented views of a sample, encoded in evaluation mode: float32 (B, d) each, on the CPU."""
    assert config.crop_size is not None
    device = run.bank.rows.device
    rows = torch.randperm(run.bank.count, generator=generator(config.seed, "diagnose", round_))[:_SAMPLE]
    parts = torch.split(rows, _BATCH)
    run.encoder.eval()
    views = []
    for view in (0, 1):
        rngs = (generator(config.seed, "views", round_, view, number) for number in range(len(parts)))
        plan = ((part, Augmentation.draw(store.sizes[part], config, rng)) for part, rng in zip(parts, rngs, strict=True))
        images = store.augmented(plan, config.crop_size, device)
        views.append(torch.cat([run.encoder(x.contiguous(memory_format=torch.channels_last)).cpu() for x in images]))
    return views[0], views[1]
