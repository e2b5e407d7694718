"""DeepCluster against plain loops: what is clustered, that no cluster is empty, and the loss; and an encoder of edges, which sees
no colours, nor does what is published of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.machine.test_ranks import on_ranks
from trainer.backbones.encoder import as_input, edges, encode
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.sources import open_source
from trainer.export import export_onnx
from trainer.machine.ranks import Ranks
from trainer.methods.deepcluster import DeepCluster, filled, k_means, whitened
from trainer.methods.method import Batch
from trainer.methods.registry import make
from trainer.neighbourhoods import MemoryBank
from trainer.run import Run
from trainer.train import Stopped, train

SMALL = {
    "preset": "quick",
    "method": "deepcluster",
    "image_size": 16,
    "epochs_first": 3,
    "clusters": 4,
    "batch_size": 16,
    "dim": 16,
    "precision": "float32",
    "device": "cpu",
}
COUNT = 40


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def method_of(ranks: Ranks | None = None, **params: object) -> DeepCluster:
    config = TrainConfig.make({**SMALL, **params})
    encoder = build_encoder(config)
    encoder.head.requires_grad_(False)
    bank = MemoryBank.random(COUNT, config.dim, 0.5, config.seed, torch.device("cpu"), ranks or Ranks())
    method = make(config, encoder, bank, None)
    assert isinstance(method, DeepCluster)
    method.optimisers = method.make_optimisers([{"params": [p for p in encoder.parameters() if p.requires_grad], "share": 1.0}])
    return method


def heaps() -> Tensor:
    """Which heap each image is in: four of 4, 8, 12 and 16 images."""
    return torch.repeat_interleave(torch.arange(4), torch.tensor([4, 8, 12, 16]))[torch.randperm(COUNT, generator=rng(1))]


def features() -> Tensor:
    """128 for each image, in three dimensions of which the heaps lie apart."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    places = corners[heaps()] + 0.1 * torch.randn(COUNT, 3, generator=rng(2))
    return places @ torch.randn(3, 128, generator=rng(3)) + 5


def batch_of(rows: Tensor) -> Batch:
    return Batch(rows, None, 0, 0, 0, 0.0)


@pytest.mark.parametrize(("count", "width"), [(600, 300), (200, 12), (30, 64)])  # more than 256, and fewer images than features
def test_features_are_reduced_whitened_and_divided_by_their_norm(count: int, width: int) -> None:
    x = torch.randn(count, width, generator=rng(0)) @ torch.randn(width, width, generator=rng(1)) + 5
    x[:, 3] = 0  # never active
    x[:, 4] = x[:, 5]
    centred = x.double().numpy() - x.double().numpy().mean(axis=0)
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    expected = []
    for image in centred:
        scores = [image @ axis / deviation for axis, deviation in zip(axes, deviations, strict=True)]
        scores = [score for score, deviation in zip(scores, deviations, strict=True) if deviation > 1e-4 * deviations[0]][:256]
        expected.append(np.array(scores) / math.sqrt(sum(score**2 for score in scores)))
    found = whitened(x).numpy()
    assert found.shape == (count, len(expected[0])) == (count, min(256, width - 2, count - 1))
    likeness = np.array(expected) @ np.array(expected).T  # an axis may point either way
    np.testing.assert_allclose(found @ found.T, likeness, atol=1e-4)


def test_features_that_are_all_the_same_are_clustered_all_the_same() -> None:
    points = whitened(torch.ones(20, 6))
    assert torch.isfinite(points).all()
    assert torch.bincount(k_means(points, 3, rng(0)), minlength=3).min() > 0


def test_k_means_ends_where_every_point_is_nearest_to_the_mean_of_its_own() -> None:
    points = torch.randn(60, 3, generator=rng(0))
    clusters = k_means(points, 4, rng(1)).tolist()
    means = []
    for number in range(4):
        own = [point for point, cluster in zip(points, clusters, strict=True) if cluster == number]
        means.append(sum(own) / len(own))
    for point, cluster in zip(points, clusters, strict=True):
        distances = [float((point - mean).square().sum()) for mean in means]
        assert distances[cluster] == min(distances)


def test_k_means_depends_on_its_generator_alone() -> None:
    points = whitened(torch.randn(3000, 40, generator=rng(0)))  # no heaps: the least rounding error would move some
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5, 1):
            torch.set_num_threads(number)
            found.append(k_means(points, 24, rng(1)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)
    assert not torch.equal(k_means(points, 24, rng(2)), found[0])


@pytest.mark.parametrize("distinct", [1, 3, 20])
def test_no_cluster_is_empty_where_many_points_are_equal(distinct: int) -> None:
    """faiss leaves all but as many clusters as there are distinct points empty."""
    points = torch.randn(distinct, 8, generator=rng(0)).repeat(60 // distinct, 1)
    sizes = torch.bincount(k_means(points, 30, rng(1)), minlength=30)
    assert sizes.min() >= 1 and sizes.sum() == len(points)


def test_an_empty_cluster_takes_half_of_the_largest() -> None:
    points = torch.randn(10, 3, generator=rng(0))
    before = torch.tensor([0, 2, 2, 0, 2, 2, 2, 0, 2, 2])
    after = filled(before, points, 4, rng(1))
    assert sorted(torch.bincount(after, minlength=4).tolist()) == [2, 2, 3, 3]  # 7 of cluster 2 became 3 and 4, these 2 and 2
    assert (after[before == 0] == 0).all()
    assert set(after[before == 2].tolist()) == {1, 2, 3}
    direction = torch.randn(3, generator=rng(1))  # the first perturbation: cluster 1 lies further towards it than what was left
    along = [float(point @ direction) for point in points]
    first = [value for value, old, new in zip(along, before.tolist(), after.tolist(), strict=True) if old == 2 and new != 2]
    rest = [value for value, new in zip(along, after.tolist(), strict=True) if new == 2]
    assert min(first) > max(rest)


def members(clusters: Tensor) -> set[tuple[int, ...]]:
    return {tuple(torch.nonzero(clusters == number).flatten().tolist()) for number in range(4)}


def test_heaps_become_pseudo_labels() -> None:
    method, found = method_of(), []
    for epoch in range(8):
        method.begin_epoch(0, epoch, features)
        found.append(members(method.pseudo_labels))
    assert members(heaps()) in found, "from some starts k-means divides a heap and joins two, but not from all"


def test_the_loss_is_that_of_images_drawn_uniformly_over_the_clusters() -> None:
    method = method_of()
    method.begin_epoch(0, 0, features)
    logits, clusters = torch.randn(COUNT, 4, generator=rng(0)), method.pseudo_labels.tolist()
    assert float(method.cluster_weights[method.pseudo_labels].mean()) == pytest.approx(1)
    losses = [-float(row[cluster] - row.exp().sum().log()) for row, cluster in zip(logits, clusters, strict=True)]
    uniform = 0.0  # a cluster, each as likely, and one of its images, each as likely
    for number in range(4):
        of_cluster = [loss for loss, cluster in zip(losses, clusters, strict=True) if cluster == number]
        uniform += sum(of_cluster) / len(of_cluster) / 4
    assert float(method.loss(logits, batch_of(torch.arange(COUNT)))) == pytest.approx(uniform, rel=1e-5)
    rows = [3, 39, 0, 17, 8]
    expected = sum(COUNT / (4 * clusters.count(clusters[row])) * losses[row] for row in rows) / len(rows)
    assert float(method.loss(logits[rows], batch_of(torch.tensor(rows)))) == pytest.approx(expected, rel=1e-5)


def test_an_epoch_begins_with_a_new_classifier_without_momentum_and_again_the_same() -> None:
    method = method_of()
    method.begin_epoch(0, 0, features)
    images = torch.rand(16, 3, 16, 16, generator=rng(0))
    first = method.classifier.weight.detach().clone()
    for group in method.optimisers[0].param_groups:
        group["lr"] = 0.1
    method.step(method, images, batch_of(torch.arange(16)))
    momentum = method.optimisers[0].state
    assert not torch.equal(method.classifier.weight, first) and method.classifier.weight in momentum
    begun = []
    for epoch in (1, 1, 2):
        method.begin_epoch(0, epoch, features)
        begun.append(
            [value.detach().clone() for value in (*method.classifier.parameters(), method.pseudo_labels, method.cluster_weights)]
        )
    assert all(map(torch.equal, begun[0], begun[1]))
    assert not torch.equal(begun[0][0], begun[2][0]) and not torch.equal(begun[0][0], first)
    assert float(begun[0][0].std()) == pytest.approx(0.01, rel=0.1) and not begun[0][1].any()
    assert not any(parameter in momentum for parameter in method.classifier.parameters())
    assert all(parameter in momentum for parameter in method.encoder.parameters() if parameter.requires_grad)
    method.step(method, images, batch_of(torch.arange(16)))


def test_a_run_of_edges_stopped_within_an_epoch_resumes_exactly(pictures: Path, tmp_path: Path) -> None:
    images, config = open_source(pictures), TrainConfig.make({**SMALL, "sobel": True})
    _, whole = train(config, images, tmp_path / "whole")
    asked = iter(range(100))
    with pytest.raises(Stopped):
        train(config, images, tmp_path / "first", should_stop=lambda: next(asked) == 4)
    _, resumed = train(config, images, tmp_path / "second", resume_from=[tmp_path / "first"])
    expected = whole.method.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.method.state_dict().items())
    assert torch.equal(resumed.bank.rows, whole.bank.rows)
    assert torch.bincount(whole.method.get_buffer("pseudo_labels"), minlength=4).min() > 0


def test_edges_are_sobels_of_the_grey_image() -> None:
    images = torch.randn(2, 3, 5, 6, generator=rng(0))
    found = edges(images)
    assert found.shape == images.shape and not found[:, 2].any()
    kernel = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    for image in range(2):
        grey = (images[image, 0] + images[image, 1] + images[image, 2]) / 3
        for y in range(5):
            for x in range(6):
                across = down = 0.0
                for i in range(3):
                    for j in range(3):
                        # beyond the border stands what stands at it
                        pixel = float(grey[min(max(y + i - 1, 0), 4), min(max(x + j - 1, 0), 5)])
                        across += kernel[i][j] * pixel
                        down += kernel[j][i] * pixel
                assert found[image, 0, y, x].item() == pytest.approx(across, abs=1e-5)
                assert found[image, 1, y, x].item() == pytest.approx(down, abs=1e-5)


def test_an_encoder_of_edges_has_the_weights_of_one_of_colours_and_sees_none() -> None:
    config = TrainConfig.make(SMALL)
    assert not config.sobel
    colours, of_edges = (build_encoder(replace(config, sobel=sobel)).eval() for sobel in (False, True))
    weights = colours.state_dict()
    assert weights.keys() == of_edges.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in of_edges.state_dict().items())
    images = 0.2 + 0.5 * torch.rand(4, 3, 16, 16, generator=rng(0))
    other = images[:, [2, 0, 1]] + 0.1  # other colours, brighter, and the same edges
    with torch.no_grad():
        assert not torch.allclose(colours(images), colours(other), atol=1e-2)
        assert torch.allclose(of_edges(images), of_edges(other), atol=1e-4)
        assert not torch.allclose(of_edges(images), colours(images), atol=1e-2)


@pytest.mark.slow  # an ONNX export
def test_what_is_published_sees_edges_too(pictures: Path, tmp_path: Path) -> None:
    encoder = build_encoder(TrainConfig.make({**SMALL, "sobel": True})).eval()
    sample = next(iter(evaluation_batches(open_source(pictures), 16)))[:8]
    embeddings = encode(encoder, [sample], torch.device("cpu"))
    export_onnx(encoder, sample, embeddings, tmp_path / "encoder.onnx")  # raises where the two differ
    encoder.sobel = False
    assert not torch.allclose(encoder(as_input(sample)), embeddings, atol=1e-3)


def everything(ranks: Ranks) -> dict[str, Tensor]:
    """What each rank finds, put together to what one process would."""
    method = method_of(ranks)
    rows = torch.tensor([3, 0, 39, 11, 12, 7, 33])
    # a rank of its own seed of images must not matter: the clusters are the first rank's
    method.begin_epoch(0, 0, lambda: features() if ranks.leads else features().flip(0))
    logits = ranks.part(torch.randn(len(rows), 4, generator=rng(5))).requires_grad_()
    loss = method.loss(logits, batch_of(rows))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    gradient = ranks.gather(logits.grad, len(rows))
    return {
        "labels": method.pseudo_labels,
        "loss": loss.detach(),
        "gradient": gradient,
        "weight": method.classifier.weight.detach(),
    }


@pytest.mark.slow  # starts processes
def test_ranks_agree_with_one_process(tmp_path: Path) -> None:
    expected = everything(Ranks())
    for found in on_ranks(2, everything, tmp_path):
        assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in found.items())


def test_a_run_holds_its_pseudo_labels() -> None:
    config = TrainConfig.make(SMALL)
    runs = [Run.start(replace(config, neighbours=1), "", COUNT, torch.device("cpu"), Ranks()) for _ in range(2)]
    runs[0].method.begin_epoch(0, 0, features)
    runs[1].method.restore(runs[0].method.state())
    assert torch.equal(runs[1].method.get_buffer("pseudo_labels"), runs[0].method.get_buffer("pseudo_labels"))
