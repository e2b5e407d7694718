"""The parts of Super-AND's loss against plain loops, on one process and on several ranks."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainer.machine.test_ranks import on_ranks
from trainer.machine.ranks import Ranks
from trainer.methods.superand import augmentation_loss, unification_entropy, unification_weight
from trainer.neighbourhoods import MemoryBank

ROWS = torch.tensor([4, 0, 22, 9, 10])


def unit(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


def slow_entropy(z: Tensor, bank: Tensor, temperature: float) -> Tensor:
    total = z.new_zeros(())
    for view, row in zip(z, ROWS.tolist(), strict=True):
        others = torch.stack([view @ bank[j] / temperature for j in range(len(bank)) if j != row])
        p = others.softmax(dim=0)
        total = total - (p * p.log()).sum()
    return total / len(z)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("block", [3, 100])
def test_the_entropy_and_its_gradient(temperature: float, block: int) -> None:
    bank, z = unit(23, 1), unit(5, 2).requires_grad_()
    expected = slow_entropy(z, bank, temperature)
    (wanted,) = torch.autograd.grad(expected, z)
    found = unification_entropy(z, ROWS, MemoryBank(bank), temperature, block)
    (gradient,) = torch.autograd.grad(found, z)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-9)


def test_an_image_itself_does_not_count() -> None:
    bank = unit(23, 1)
    moved = bank.clone()
    moved[ROWS] = unit(5, 9)
    z = unit(1, 2)
    one = ROWS[:1]
    before, after = (
        unification_entropy(z, one, MemoryBank(rows), 0.1) for rows in (bank, torch.cat([bank[:4], moved[4:5], bank[5:]]))
    )
    assert torch.equal(before, after)


def slow_augmentation(first: Tensor, second: Tensor, temperature: float) -> float:
    views = [*first, *second]
    total = 0.0
    for i, view in enumerate(views):
        exps = {k: math.exp(float(view @ other) / temperature) for k, other in enumerate(views) if k != i}
        whole = math.fsum(exps.values())
        j = (i + len(first)) % len(views)
        total -= math.log(exps[j] / whole) + math.fsum(math.log(1 - value / whole) for k, value in exps.items() if k != j)
    return total / len(views)


def test_the_augmentation_loss() -> None:
    first, second = unit(6, 3), unit(6, 4)
    for temperature in (0.1, 0.5):
        assert float(augmentation_loss(first, second, temperature)) == pytest.approx(
            slow_augmentation(first, second, temperature), rel=1e-9
        )


def test_its_weight_grows_as_published() -> None:
    assert [unification_weight(epoch / 200) for epoch in (0, 79, 80, 159, 160, 199)] == pytest.approx([0, 0, 0.2, 0.2, 0.4, 0.4])


def parts(ranks: Ranks) -> dict[str, Tensor]:
    bank = MemoryBank(ranks.part(unit(23, 1, torch.float32)).clone(), 0.5, ranks, 23)
    z = ranks.part(unit(5, 2, torch.float32)).clone().requires_grad_()
    entropy = unification_entropy(z, ROWS, bank, 0.1, block=4)
    first, second = (ranks.attached(view, 5) for view in (z, z.roll(1, dims=1)))
    apart = augmentation_loss(first, second, 0.1)
    (entropy + apart).backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    return {"entropy": entropy.detach(), "apart": apart.detach(), "gradient": ranks.gather(z.grad, 5)}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_agree_with_one_process(size: int, tmp_path: Path) -> None:
    expected = parts(Ranks())
    for found in on_ranks(size, parts, tmp_path):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
