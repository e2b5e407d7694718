"""Measures against loops and scikit-learn, and figures that need no labels on embeddings whose values are known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from core.search import votes
from trainer.evaluation import metrics
from trainer.evaluation.diagnostics import (
    ENTROPY_BINS,
    alignment,
    collapse_warning,
    effective_rank,
    entropy_histogram,
    neighbour_agreement,
    uniformity,
)
from trainer.evaluation.metrics import (
    KS,
    consistency,
    consistency_by_decile,
    few_label_accuracy,
    knn_accuracy,
    knn_votes,
    linear_accuracy,
    retrieval,
)
from trainer.randomness import generator


def clusters(count: int, classes: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    return F.normalize(centres[labels] + spread * torch.randn(count, 8, generator=generator), dim=1), labels


def test_knn_accuracy_against_a_loop() -> None:
    bank, labels = clusters(60, 4, 2.0)
    right = 0
    for i in range(60):
        sims = sorted(((float(bank[i] @ bank[j]), int(labels[j])) for j in range(60) if j != i), reverse=True)[:7]
        votes = [0.0] * 4
        for sim, label in sims:
            votes[label] += float(np.exp(sim / 0.1))
        right += int(np.argmax(votes)) == int(labels[i])
    assert knn_accuracy(bank, labels, bank, labels, 7, leave_one_out=True) == pytest.approx(right / 60)


def test_large_banks_are_asked_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, labels = clusters(60, 4, 2.0)
    at_once = knn_votes(bank, labels, bank, 7, leave_one_out=True)
    monkeypatch.setattr(metrics, "_HELD", 7 * len(bank))
    torch.testing.assert_close(knn_votes(bank, labels, bank, 7, leave_one_out=True), at_once)


@pytest.mark.parametrize("alone", [False, True])
def test_few_labels_vote_as_the_product_does(alone: bool) -> None:
    assert KS == votes.KS
    names = ["a", "b", "c"]
    bank, labels = clusters(90, 3, 1.5)
    queries, targets = (bank, labels) if alone else clusters(40, 3, 1.5, seed=1)
    for found in few_label_accuracy(bank, labels, queries, targets, draws=4, leave_one_out=alone):
        accuracies = []
        for draw in range(4):
            drawn = np.sort(_drawn_by_hand(labels.tolist(), int(found["labels"]), draw))
            voters, classes = bank.numpy()[drawn], labels.numpy()[drawn]
            k = votes.leave_one_out(voters, classes, names, None, 0.1, min_labels=1).k
            asked = [row for row in range(len(queries)) if not (alone and row in set(drawn.tolist()))]
            own = np.full(len(asked), -1)
            assert k is not None
            guesses, _ = votes.predict(queries.numpy()[asked], own, voters, classes, 3, k, 0.1)
            accuracies.append(float((guesses == targets.numpy()[asked]).mean()))
        assert found["mean"] == pytest.approx(np.mean(accuracies))
        assert [found["low"], found["high"]] == pytest.approx(np.percentile(accuracies, [2.5, 97.5]).tolist())


def _drawn_by_hand(labels: list[int], shot: int, draw: int) -> np.ndarray:
    """The first so many of each class in the order of the draw."""
    drawn: dict[int, list[int]] = {}
    for row in torch.randperm(len(labels), generator=generator(0, "few labels", draw)).tolist():
        if len(drawn.setdefault(labels[row], [])) < shot:
            drawn[labels[row]].append(row)
    return np.array([row for rows in drawn.values() for row in rows])


def test_few_labels_are_drawn_only_where_every_class_has_as_many() -> None:
    bank, _ = clusters(16, 2, 0.1)
    labels = torch.tensor([0] * 11 + [1] * 5)
    numbers = [one["labels"] for one in few_label_accuracy(bank, labels, bank, labels)]
    alone = [one["labels"] for one in few_label_accuracy(bank, labels, bank, labels, leave_one_out=True)]
    assert (numbers, alone) == ([1, 5], [1])
    assert few_label_accuracy(bank, torch.zeros(16, dtype=torch.int64), bank, labels) == []
    unknown = few_label_accuracy(bank, labels, bank[:4], torch.full((4,), 2))  # a class that nothing is labelled with
    assert [one["mean"] for one in unknown] == [0.0, 0.0]


def test_average_precision_is_scikit_learns() -> None:
    bank, labels = clusters(80, 4, 1.0)
    queries, targets = clusters(20, 4, 1.0, seed=1)
    found = retrieval(bank, labels, queries, targets)
    sims = queries @ bank.T
    expected = [average_precision_score((labels == t).numpy(), s.numpy()) for s, t in zip(sims, targets, strict=True)]
    assert found["mean_average_precision"] == pytest.approx(float(np.mean(expected)), abs=1e-6)
    first = [bool((labels[s.topk(5).indices] == t).any()) for s, t in zip(sims, targets, strict=True)]
    assert found["recall_at_5"] == pytest.approx(float(np.mean(first)))
    assert found["ranked_queries"] == 20


def test_retrieval_leaves_the_query_itself_out() -> None:
    bank = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 3])  # the last two have nothing to be found
    found = retrieval(bank, labels, bank, labels, leave_one_out=True)
    assert found["ranked_queries"] == 4
    ranks = [[j for j in torch.argsort(bank @ bank[i], descending=True).tolist() if j != i].index(i ^ 1) + 1 for i in range(4)]
    assert found["mean_average_precision"] == pytest.approx(sum(1 / rank for rank in ranks) / 4)


def test_the_linear_classifier_learns_what_is_linear() -> None:
    features, labels = clusters(300, 3, 0.1)
    queries, targets = clusters(60, 3, 0.1, seed=1)
    assert linear_accuracy(features, labels, queries, targets) == 1.0
    noise = torch.randn(300, 8, generator=torch.Generator().manual_seed(5))
    assert linear_accuracy(noise, labels, noise[:60].roll(7, 0), targets) < 0.6


def test_of_many_images_a_part_teaches_the_linear_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters(300, 3, 2.0)
    queries, targets = clusters(60, 3, 2.0, seed=1)
    part = linear_accuracy(features[::7], labels[::7], queries, targets)
    assert part != linear_accuracy(features, labels, queries, targets)
    monkeypatch.setattr(metrics, "_WEIGHED", 8 * 3 * 43)
    assert linear_accuracy(features, labels, queries, targets) == part


def test_consistency_counts_pairs_of_known_labels() -> None:
    neighbours = torch.tensor([[1], [2], [-1], [0]])
    assert consistency(neighbours, ["a", "a", "b", None]) == 0.5
    assert consistency(torch.full((4, 1), -1), ["a"] * 4) is None
    assert consistency(neighbours, [None] * 4) is None


def test_deciles_of_entropy() -> None:
    labels = ["a"] * 10 + ["b"] * 10
    nearest = torch.tensor([[1]] * 10 + [[0]] * 10)  # the second half's nearest others are of the other class
    entropy = torch.arange(20).float()
    assert consistency_by_decile(entropy, nearest, labels) == [1.0] * 5 + [0.0] * 5
    assert consistency_by_decile(entropy.flip(0), nearest, labels) == [0.0] * 5 + [1.0] * 5


def test_effective_rank_of_known_embeddings() -> None:
    assert effective_rank(torch.eye(8)) == pytest.approx(8.0)
    assert effective_rank(torch.eye(8)[:4].repeat(5, 1)) == pytest.approx(4.0)
    assert effective_rank(F.normalize(torch.ones(50, 8), dim=1)) == pytest.approx(1.0, abs=1e-3)


def test_alignment_and_uniformity_are_wang_and_isolas() -> None:
    x, _ = clusters(10, 2, 0.5)
    y, _ = clusters(10, 2, 0.5, seed=1)
    assert alignment(x, y) == pytest.approx(float(np.mean([float((x[i] - y[i]).norm()) ** 2 for i in range(10)])), abs=1e-6)
    pairs = [math.exp(-2 * float((x[i] - x[j]).norm()) ** 2) for i in range(10) for j in range(i)]
    assert uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)


def test_agreement_of_neighbours_ignores_their_order() -> None:
    before = torch.tensor([[1, 2], [0, 3]])
    assert neighbour_agreement(before, torch.tensor([[2, 1], [0, 2]])) == 0.75


@pytest.mark.parametrize(
    ("rank", "spread", "message"),
    [(60.0, -3.5, None), (1.0, -0.01, "collapsed to a point"), (3.0, -1.5, "about 3.0 of 128 dimensions")],
)
def test_a_collapsed_embedding_is_called_one(rank: float, spread: float, message: str | None) -> None:
    for trained, advice in ((True, "lower learning_rate"), (False, "the weights it starts from hardly tell these images apart")):
        warning = collapse_warning({"effective_rank": rank, "uniformity": spread}, 128, trained)
        assert (warning is None) if message is None else (warning is not None and message in warning and advice in warning)


def test_the_histogram_of_entropies_goes_from_nothing_to_log_n() -> None:
    count = 1000
    entropy = torch.rand(count, generator=torch.Generator().manual_seed(0)) * math.log(count)
    edges = np.linspace(0, math.log(count), ENTROPY_BINS + 1)
    assert entropy_histogram(entropy) == np.histogram(entropy.numpy(), edges)[0].tolist()
    assert entropy_histogram(torch.full((5,), math.log(5) + 1e-6))[-1] == 5  # rounding may exceed the largest


def test_of_equal_voters_the_first_vote() -> None:
    bank = F.normalize(torch.ones(900, 3), dim=1)
    labels = (torch.arange(900) >= 15).long()
    assert knn_votes(bank, labels, bank[:4], 20).tolist() == [[15.0, 5.0]] * 4
    assert knn_accuracy(bank, labels, bank, labels, 20, leave_one_out=True) == pytest.approx(15 / 900)


def test_retrieval_is_none_where_no_query_has_another_image_of_its_class() -> None:
    vectors = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    classes = torch.arange(3)
    found = retrieval(vectors, classes, vectors, classes, leave_one_out=True)
    assert found == {
        "mean_average_precision": None,
        "recall_at_1": None,
        "recall_at_5": None,
        "recall_at_10": None,
        "ranked_queries": 0,
    }
