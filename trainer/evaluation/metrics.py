"""Measures of an embedding against labels: pure functions of vectors and classes."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from core.ground.reports import FewLabel, Retrieval
from trainer.randomness import generator

BLOCK = 1024  # queries at a time, of large banks fewer
_HELD = 2**26  # similarities that are held at a time
RECALL_AT = (1, 5, 10)
_WEIGHED = 50_000_000_000  # products in an iteration of a linear classifier
_RANKED = 200_000_000  # similarities sorted for average precision: about half a minute on two cores
LABELS_A_CLASS, DRAWS = (1, 5, 10), 20
KS = (1, 3, 5, 10, 20, 50, 100, 200)  # numbers of voters among which the product chooses (core/search/votes.py)
_ASKED, _COMPARED = 10_000, 5_000_000  # queries, and similarities, of one draw of few labels


def knn_votes(
    bank: Tensor, labels: Tensor, queries: Tensor, k: int, temperature: float = 0.1, *, leave_one_out: bool = False
) -> Tensor:
    """Weighted kNN vote (Wu et al. 2018, section 3.4: weights exp(sim / T)).

    Args:
        bank: unit rows (N, d).
        labels: int64 (N,), classes of the rows.
        queries: unit rows (Q, d).
        k: number of voters, at most as many as there are.
        temperature: T.
        leave_one_out: the queries are the bank's own rows, in order; each is left out of its own vote.

    Returns:
        float32 (Q, C), the votes for each class relative to the best neighbour's.
    """
    k = min(k, len(bank) - leave_one_out)
    votes = torch.zeros(len(queries), int(labels.max()) + 1)
    block = min(BLOCK, max(1, _HELD // len(bank)))
    for start in range(0, len(queries), block):
        sims = queries[start : start + block] @ bank.T  # (B, N)
        if leave_one_out:
            own = torch.arange(start, start + len(sims))
            sims.scatter_(1, own[:, None], float("-inf"))
        best, rows = _nearest(sims, k)
        # Shifted by the best similarity: the vote is unchanged and cannot overflow.
        votes[start : start + block].scatter_add_(1, labels[rows], torch.exp((best - best[:, :1]) / temperature))
    return votes


def _nearest(sims: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``topk`` along rows, but of equal similarities at the k-th place the first columns, not any."""
    best, columns = sims.topk(k, dim=1)
    tied = (sims >= best[:, -1:]).sum(dim=1) > k
    if bool(tied.any()):
        columns[tied] = sims[tied].argsort(dim=1, descending=True, stable=True)[:, :k]
        best = sims.gather(1, columns)
    return best, columns


def knn_accuracy(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    targets: Tensor,
    k: int,
    temperature: float = 0.1,
    *,
    leave_one_out: bool = False,
) -> float:
    """Fraction of the queries, of classes int64 (Q,), whose vote is right; arguments as of ``knn_votes``."""
    votes = knn_votes(bank, labels, queries, k, temperature, leave_one_out=leave_one_out)
    return float((votes.argmax(dim=1) == targets).double().mean())


def few_label_accuracy(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    targets: Tensor,
    shots: Sequence[int] = LABELS_A_CLASS,
    draws: int = DRAWS,
    temperature: float = 0.1,
    *,
    leave_one_out: bool = False,
) -> list[FewLabel]:
    """How well few labels a class, drawn at random, classify the queries by the vote that the product holds with them: of as many
    voters as let the drawn images predict each other best, of equally good numbers the largest. The draws are the same for every
    embedding of the same images. Of many queries an evenly spaced part is asked.

    Args:
        bank, labels, queries, targets, temperature: as of ``knn_accuracy``.
        shots: numbers of labels a class.
        draws: how often each number is drawn.
        leave_one_out: the queries are the bank's own rows, in order; in each draw those that were not drawn are asked.

    Returns:
        For each of ``shots`` its number as ``labels``, ``mean`` accuracy over the draws, and ``low`` and ``high``, between which
        95 % of the draws lie (percentiles 2.5 and 97.5). A number is left out where a class has fewer images, or none to ask
        beside them, and all are where there is one class.
    """
    names, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    known = torch.searchsorted(names, targets).clamp(max=len(names) - 1)
    wanted = torch.where(names[known] == targets, known, -1)  # a class that has no label cannot be guessed
    result: list[FewLabel] = []
    for shot in shots:
        if len(names) < 2 or int(counts.min()) < shot + leave_one_out:
            continue
        right = torch.zeros(draws, dtype=torch.float64)
        for draw in range(draws):
            rows = _drawn(classes, counts, shot, draw)
            asked = torch.ones(len(queries), dtype=torch.bool)
            if leave_one_out:
                asked[rows] = False
            ask = asked.nonzero()[:, 0]
            ask = ask[:: max(1, -(-len(ask) // min(_ASKED, max(1, _COMPARED // len(rows)))))]
            k = _best_voters(bank[rows], classes[rows], temperature)
            votes = knn_votes(bank[rows], classes[rows], queries[ask], k, temperature)
            right[draw] = (votes.argmax(dim=1) == wanted[ask]).double().mean()
        low, high = right.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        result.append({"labels": shot, "mean": float(right.mean()), "low": low, "high": high})
    return result


def _drawn(classes: Tensor, counts: Tensor, shot: int, draw: int) -> Tensor:
    """So many rows of each class; a draw of more holds that of fewer."""
    order = torch.randperm(len(classes), generator=generator(0, "few labels", draw))
    order = order[classes[order].argsort(stable=True)]
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)  # within the class
    return order[place < shot].sort().values


def _best_voters(bank: Tensor, classes: Tensor, temperature: float) -> int:
    """The number of voters with which the rows, each left out of its own vote, predict each other best."""
    tried = [k for k in KS if k < len(bank)]
    judged = torch.arange(0, len(bank), -(-(len(bank) ** 2) // _COMPARED))
    sims = bank[judged] @ bank.T
    sims.scatter_(1, judged[:, None], float("-inf"))
    best, rows = _nearest(sims, tried[-1])
    weights = torch.exp((best - best[:, :1]) / temperature)
    votes, before, found = torch.zeros(len(judged), int(classes.max()) + 1), 0, []
    for k in tried:
        votes.scatter_add_(1, classes[rows[:, before:k]], weights[:, before:k])
        before = k
        found.append((int((votes.argmax(dim=1) == classes[judged]).sum()), k))
    return max(found)[1]


def retrieval(bank: Tensor, labels: Tensor, queries: Tensor, targets: Tensor, *, leave_one_out: bool = False) -> Retrieval:
    """How well the bank, ranked by similarity, shows each query's class; images of the class are the relevant ones.

    Average precision is the mean of the precision at each relevant rank (Manning et al. 2008, section 8.4); recall@k is
    the fraction of queries with a relevant image among the first k (Jégou et al. 2011). Of many queries an evenly spaced
    part is ranked, so that at most ``_RANKED`` similarities are sorted.

    Args:
        bank, labels, queries, targets, leave_one_out: as of ``knn_accuracy``.

    Returns:
        ``mean_average_precision``, ``recall_at_1``, ``recall_at_5``, ``recall_at_10`` as fractions, and the
        number of ``ranked_queries``.
        Queries without a relevant image in the bank do not count; ``None`` for each fraction where none counts.
    """
    chosen = torch.arange(0, len(queries), max(1, -(-len(queries) * len(bank) // _RANKED)))
    precisions, hits = [], []
    for rows in torch.split(chosen, max(1, 2**25 // len(bank))):
        sims = queries[rows] @ bank.T
        relevant = labels[None, :] == targets[rows, None]
        if leave_one_out:
            sims.scatter_(1, rows[:, None], float("-inf"))
            relevant.scatter_(1, rows[:, None], False)
        ranked = relevant.gather(1, sims.argsort(dim=1, descending=True, stable=True))
        counted = ranked.any(dim=1)
        ranked = ranked[counted]
        found = ranked.cumsum(dim=1)
        precision = (found / torch.arange(1, ranked.shape[1] + 1)).masked_fill_(~ranked, 0.0)
        precisions.append(precision.sum(dim=1) / found[:, -1])
        hits.append(torch.stack([ranked[:, :k].any(dim=1) for k in RECALL_AT], dim=1))
    precision, found_at = torch.cat(precisions).double(), torch.cat(hits).double()
    means = [float(values.mean()) if len(precision) else None for values in (precision, *found_at.T)]
    return {
        "mean_average_precision": means[0],
        "recall_at_1": means[1],
        "recall_at_5": means[2],
        "recall_at_10": means[3],
        "ranked_queries": len(precision),
    }


def linear_accuracy(features: Tensor, labels: Tensor, queries: Tensor, targets: Tensor) -> float:
    """Fraction of queries that a linear classifier on frozen features gets right.

    Multinomial logistic regression (scikit-learn, L2 with C = 1, at most 200 iterations of L-BFGS) on standardised features;
    nothing is tuned. Of so many images that an iteration would take more than ``_WEIGHED`` products an evenly spaced part is
    learned from: on ImageNet, with 512 features, about 90 a class.

    Args:
        features: (N, C).
        labels: int64 (N,).
        queries: (Q, C).
        targets: int64 (Q,).
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    affordable = _WEIGHED // (features.shape[1] * len(torch.unique(labels)))
    part = slice(None, None, max(1, -(-len(features) // affordable)))
    features, labels = features[part], labels[part]
    mean, std = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    model = LogisticRegression(C=1.0, max_iter=200)
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ConvergenceWarning: 200 iterations are what is asked for
        model.fit(((features - mean) / std).numpy(), labels.numpy())
    return float((model.predict(((queries - mean) / std).numpy()) == targets.numpy()).mean())


def consistency(neighbours: Tensor, labels: Sequence[str | None]) -> float | None:
    """Fraction of the anchors' neighbours that share the anchor's class, over pairs in which both are labelled.

    Args:
        neighbours: int64 (N, k) rows, -1 throughout for what is no anchor.
        labels: N classes.

    Returns:
        ``None`` if no such pair is labelled.
    """
    names = {name: number for number, name in enumerate(sorted({name for name in labels if name is not None}))}
    classes = torch.tensor([-1 if name is None else names[name] for name in labels])
    own, other = classes[:, None].expand_as(neighbours), classes[neighbours.clamp(min=0)]
    known = (neighbours >= 0) & (own >= 0) & (other >= 0)
    return float((own == other)[known].double().mean()) if bool(known.any()) else None


def consistency_by_decile(entropy: Tensor, nearest: Tensor, labels: Sequence[str | None]) -> list[float | None]:
    """``consistency`` of the images' nearest others for each tenth of the images by entropy, lowest first.

    Args:
        entropy: (N,).
        nearest: int64 (N, k), for every image.
        labels: N classes.
    """
    order = torch.argsort(entropy, stable=True)
    result = []
    for rows in order.tensor_split(10):
        only = torch.full_like(nearest, -1)
        only[rows] = nearest[rows]
        result.append(consistency(only, labels))
    return result
