"""SimCLR's loss against plain loops, and what it publishes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.methods.simclr import nt_xent


def unit(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def slow_nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    views = [*first, *second]
    total = 0.0
    for i, view in enumerate(views):
        j = (i + len(first)) % len(views)
        others = [math.exp(float(view @ other) / temperature) for k, other in enumerate(views) if k != i]
        total -= math.log(math.exp(float(view @ views[j]) / temperature) / math.fsum(others))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_that_of_the_paper(temperature: float) -> None:
    first, second = unit(7, 1), unit(7, 2)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-12)


def test_views_that_agree_and_stand_apart_are_better() -> None:
    apart = torch.eye(6, 8, dtype=torch.float64)
    alike = apart[:1].expand(6, 8)
    good, none, wrong = nt_xent(apart, apart, 0.1), nt_xent(alike, alike, 0.1), nt_xent(apart, apart.roll(1, dims=0), 0.1)
    assert good < none < wrong
    assert float(none) == pytest.approx(math.log(11))
