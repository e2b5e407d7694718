"""The loss against loops written from the paper's definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.loss import neighbourhood_loss
from trainer.neighbourhoods import MemoryBank

TAU = 0.1


def unit(count: int, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


def slow_loss(z: Tensor, rows: Tensor, bank: Tensor, neighbours: Tensor | None, mean: bool = False) -> float:
    """L_i = -log( p_ii + sum over the neighbours of p_ij ), or the mean of -log p_ij over them and i, with p over all N."""
    total = 0.0
    for b, i in enumerate(rows.tolist()):
        exponentials = [math.exp(float(z[b] @ bank[j]) / TAU) for j in range(len(bank))]
        members = [i] + ([] if neighbours is None else [j for j in neighbours[b].tolist() if j >= 0])
        p = [exponentials[j] / sum(exponentials) for j in members]
        total += -sum(map(math.log, p)) / len(p) if mean else -math.log(sum(p))
    return total / len(rows)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_loss_agrees_with_the_loop(k: int, mean: bool) -> None:
    z, bank = unit(6, 16, 1, torch.float64), unit(40, 16, 2, torch.float64)
    rows = torch.tensor([3, 0, 39, 11, 12, 7])
    neighbours = None
    if k:
        neighbours = torch.stack([(rows + 1 + n) % 40 for n in range(k)], dim=1)
        neighbours[::2] = -1  # every other sample is no anchor
    loss = neighbourhood_loss(z, rows, MemoryBank(bank), neighbours, TAU, mean=mean)
    assert float(loss) == pytest.approx(slow_loss(z, rows, bank, neighbours, mean), abs=1e-10)


def test_loss_in_single_precision() -> None:
    z, bank = unit(32, 128, 1), unit(500, 128, 2)
    rows = torch.arange(32)
    assert float(neighbourhood_loss(z, rows, MemoryBank(bank), None, TAU)) == pytest.approx(
        slow_loss(z, rows, bank, None), abs=1e-5
    )


def dense_loss(z: Tensor, rows: Tensor, bank: Tensor, neighbours: Tensor, tau: float) -> Tensor:
    logits = z @ bank.T / tau
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, rows[:, None], True)
    for column in neighbours.T:
        mask[column >= 0] |= F.one_hot(column.clamp(min=0), len(bank)).bool()[column >= 0]
    near = logits.masked_fill(~mask, float("-inf"))
    return (torch.logsumexp(logits, dim=1) - torch.logsumexp(near, dim=1)).mean()


@pytest.mark.parametrize("tau", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("block", [1, 7, 40, 64])
def test_streamed_loss_equals_the_dense_one_forward_and_backward(block: int, tau: float) -> None:
    bank, rows = unit(40, 16, 2), torch.tensor([3, 0, 39, 11, 12, 7])
    neighbours = torch.tensor([[4, 5], [-1, -1], [1, 2], [0, 39], [-1, -1], [8, 6]])
    dense, streamed = unit(6, 16, 1).requires_grad_(), unit(6, 16, 1).requires_grad_()
    expected = dense_loss(dense, rows, bank, neighbours, tau)
    actual = neighbourhood_loss(streamed, rows, MemoryBank(bank), neighbours, tau, block=block)
    expected.backward()
    actual.backward()
    assert torch.allclose(actual, expected, atol=1e-5)
    assert dense.grad is not None
    assert streamed.grad is not None
    assert torch.allclose(streamed.grad, dense.grad, atol=1e-5)


def test_a_bfloat16_backward_leaves_the_loss_and_nearly_the_gradient_as_they_are() -> None:
    bank, rows = MemoryBank(unit(5000, 64, 2)), torch.arange(16)
    exact, rough = unit(16, 64, 1).requires_grad_(), unit(16, 64, 1).requires_grad_()
    first = neighbourhood_loss(exact, rows, bank, None, TAU)
    second = neighbourhood_loss(rough, rows, bank, None, TAU, backward=torch.bfloat16)
    first.backward()
    second.backward()
    assert torch.equal(first, second)
    assert exact.grad is not None
    assert rough.grad is not None
    assert float(F.cosine_similarity(exact.grad, rough.grad).min()) > 0.9999


@pytest.mark.parametrize("mean", [False, True])
def test_the_gradient_is_that_of_finite_differences(mean: bool) -> None:
    bank = unit(12, 5, 2, torch.float64)
    z = unit(3, 5, 1, torch.float64).requires_grad_()
    rows, neighbours = torch.tensor([1, 4, 9]), torch.tensor([[2], [-1], [0]])
    assert torch.autograd.gradcheck(lambda z: neighbourhood_loss(z, rows, MemoryBank(bank), neighbours, TAU, mean=mean), (z,))


def test_an_extreme_temperature_stays_finite() -> None:
    bank = unit(40, 16, 2)
    z = (-bank[:4]).requires_grad_()  # the farthest from their own rows
    loss = neighbourhood_loss(z, torch.arange(4), MemoryBank(bank), None, 0.01)
    loss.backward()
    assert z.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()
