"""DeepCluster (Caron, Bojanowski, Joulin, Douze, ECCV 2018): each epoch clusters all images by their features, and then learns to
tell the clusters."""

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.backbones.encoder import BLOCK, Encoder, scatter_about
from trainer.config import ConfigError, TrainConfig
from trainer.methods.method import Batch, Features, Method
from trainer.neighbourhoods import MemoryBank

_COMPONENTS = 256  # that the features are reduced to at most; the paper's
_ITERATIONS = 20  # of k-means; the released code's
_SPREAD = 0.01  # standard deviation of the classifier's first weights; the released code's
_LEAST = 1e-10  # of the largest component's variance: below it a component is rounding errors, which whitening would blow up


class DeepCluster(Method):
    """Section 3.2, with the two measures of 3.3 against trivial solutions: no cluster is empty, and all clusters count alike.

    For the latter the released code draws the images of an epoch uniformly over the clusters. Here an epoch visits every image
    once, so the loss of each is weighted by the inverse of its cluster's size, which the paper calls equivalent. The weights are
    scaled to a mean of one over all images.
    """

    pseudo_labels: Tensor  # int64 (N,), each image's cluster
    cluster_weights: Tensor  # float32 (k,), of an image's loss by its cluster

    def __init__(self, config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None = None) -> None:
        super().__init__(config, encoder, bank, labels)
        assert config.clusters, "resolve the configuration first"
        if importlib.util.find_spec("faiss") is None:
            raise ConfigError("method: deepcluster needs faiss, which is not installed here; pip install faiss-cpu, or faiss-gpu")
        self.classifier = nn.Linear(encoder.head.in_features, config.clusters)
        self.register_buffer("pseudo_labels", torch.zeros(bank.count, dtype=torch.int64))
        self.register_buffer("cluster_weights", torch.ones(config.clusters))

    @torch.no_grad()
    def begin_epoch(self, round_: int, epoch: int, features: Features) -> None:
        """New pseudo-labels and, since these have nothing to do with the last ones, a new classifier."""
        found, rng, k = features(), self.rng("clusters", round_, epoch), self.classifier.out_features
        clusters = self.bank.ranks.once(lambda: k_means(whitened(found), k, rng))
        self.pseudo_labels.copy_(clusters)
        self.cluster_weights.copy_(len(clusters) / (k * torch.bincount(clusters, minlength=k)))
        weight, bias = self.classifier.weight, self.classifier.bias
        weight.copy_(torch.randn(weight.shape, generator=self.rng("classifier", round_, epoch)) * _SPREAD)
        bias.zero_()
        for parameter in (weight, bias):
            self.optimisers[0].state.pop(parameter, None)  # its momentum

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, k)."""
        logits: Tensor = self.classifier(self.encoder.pooled(images))
        return logits

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Equation 1, with each image's weight."""
        logits, targets = self.bank.ranks.attached(outputs, len(batch.rows)), self.pseudo_labels[batch.rows]
        return F.cross_entropy(logits, targets, self.cluster_weights, reduction="sum") / len(targets)


def whitened(features: Tensor) -> Tensor:
    """Features (N, C) by their principal components, 256 at most and fewer where they have no more, each divided by its standard
    deviation; then every image's divided by their norm (section 3.3, implementation details).

    Returns:
        float32 (N, P) on the CPU.
    """
    mean = features.mean(dim=0, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(scatter_about(features, mean) / len(features))  # ascending
    variances, axes = variances[-_COMPONENTS:].clamp(min=1e-30), axes[:, -_COMPONENTS:]
    kept = variances >= _LEAST * variances[-1]
    scaled = axes[:, kept] / variances[kept].sqrt()
    return torch.cat(
        [F.normalize((block.double() - mean) @ scaled, dim=1).float().cpu() for block in torch.split(features, BLOCK)]
    )


def k_means(points: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """Lloyd's algorithm by faiss, started from k of the points; the result does not depend on the number of threads.

    A cluster that is empty after an iteration gets the centroid of another one with a small perturbation (section 3.3, empty
    clusters). faiss does that by itself, and the released code relies on it; but those that are empty at the end, as where many
    points are equal, it leaves.

    Args:
        points: float32 (N, P) on the CPU.
        k: clusters, at most N.
        rng: decides which points it starts from.

    Returns:
        int64 (N,), each point's cluster, of which none is empty.
    """
    import faiss  # only this method needs it

    faiss.omp_set_num_threads(torch.get_num_threads())
    clustering = faiss.Kmeans(
        points.shape[1],
        k,
        niter=_ITERATIONS,
        seed=int(torch.randint(2**31 - 1, (), generator=rng)),
        min_points_per_centroid=1,  # no warning that there are few
        max_points_per_centroid=len(points),  # no sample of them
    )
    clustering.train(points.numpy())
    return filled(torch.from_numpy(clustering.assign(points.numpy())[1]), points, k, rng)


def filled(clusters: Tensor, points: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """The clusters (N,) when every empty one has got half of the largest: those of its points (N, P) that lie furthest towards a
    random perturbation of its centroid, so that neither is empty even where all are equal."""
    clusters, sizes = clusters.clone(), torch.bincount(clusters, minlength=k)
    for empty in torch.nonzero(sizes == 0).flatten():
        members = torch.nonzero(clusters == sizes.argmax()).flatten()
        perturbation = torch.randn(points.shape[1], generator=rng)
        order = torch.argsort(points[members] @ perturbation, stable=True)
        clusters[members[order[len(members) // 2 :]]] = empty
        sizes = torch.bincount(clusters, minlength=k)
    return clusters


METHOD = DeepCluster
