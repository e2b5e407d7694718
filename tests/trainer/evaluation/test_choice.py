"""Which round is published: an adapted model that is no better than its start is not."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from trainer.evaluation.choice import LEAST_KEPT, LEAST_RANK, MOST_MUTUAL, change, gains, is_sound


def figures(few: float | None, precision: float | None, knn: float) -> dict[str, Any]:
    drawn = [] if few is None else [{"labels": 5, "mean": few, "low": few, "high": few}]
    return {"few_label": drawn, "mean_average_precision": precision, "knn_accuracy": knn}


@pytest.mark.parametrize(
    ("adapted", "better"),
    [
        (figures(0.75, 0.58, 0.89), True),
        (figures(0.7, 0.5, 0.86), False),  # a tie
        (figures(0.68, 0.45, 0.9), False),  # worse together
        (figures(0.69, 0.55, 0.86), True),  # a fall within a standard error
        (figures(0.66, 0.6, 0.86), False),  # one beyond it
        (figures(0.8, 0.6, 0.83), True),  # kNN is made up for by what counts more
        (figures(0.71, 0.51, 0.83), False),  # and here it is not
        (figures(None, 0.55, 0.86), True),  # too few images of a class to draw five
        (figures(None, None, 0.87), True),
    ],
)
def test_labels_choose_by_all_measures_together(adapted: dict[str, Any], better: bool) -> None:
    assert gains(figures(0.7, 0.5, 0.86), adapted, 1000) == better


@pytest.mark.parametrize(
    ("kept", "rank", "mutual", "sound"),
    [
        (0.7, 60.0, 0.5, True),
        (LEAST_KEPT - 0.01, 60.0, 0.5, False),
        (0.7, LEAST_RANK * 79, 0.5, False),
        (0.7, 60.0, 0.51 + MOST_MUTUAL, False),
    ],
)
def test_without_labels_the_start_must_still_be_there(kept: float, rank: float, mutual: float, sound: bool) -> None:
    changed = {"kept_neighbours": kept, "effective_rank_before": 80.0, "effective_rank_after": rank}
    changed |= {"mutual_before": 0.5, "mutual_after": mutual}
    assert is_sound(changed) == sound


def test_what_changed_is_told_by_neighbours_and_rank() -> None:
    before = F.normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    turned, _ = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
    same = change(before, before @ turned)
    assert same["kept_neighbours"] > 0.999 and is_sound(same)
    other = F.normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(2)), dim=1)
    assert change(before, other)["kept_neighbours"] < 0.2  # by chance 20 of 199
    pairs = F.normalize(torch.eye(100).repeat_interleave(21, dim=0), dim=1)  # groups of 21: all are mutual
    assert change(pairs[:420], pairs[:420])["mutual_after"] == 1
    flat = F.normalize(before * torch.tensor([1.0, 1.0, *[0.0] * 14]), dim=1)
    assert change(before, flat)["effective_rank_after"] == pytest.approx(2, abs=0.1)
