"""Entropy, neighbour selection and the memory update against loops written from the paper's definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from trainer.machine.ranks import Ranks
from trainer.neighbourhoods import MemoryBank, discover, neighbourhoods, select_anchors

TAU = 0.1


def bank_of(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def slow_discovery(bank: torch.Tensor, k: int) -> tuple[list[float], list[list[int]]]:
    entropies, nearest = [], []
    for i in range(len(bank)):
        sims = [float(bank[i].double() @ bank[j].double()) for j in range(len(bank))]
        total = sum(math.exp(s / TAU) for s in sims)
        p = [math.exp(s / TAU) / total for s in sims]
        entropies.append(-sum(q * math.log(q) for q in p))
        nearest.append(sorted((j for j in range(len(bank)) if j != i), key=lambda j: -sims[j])[:k])
    return entropies, nearest


@pytest.mark.parametrize(
    ("count", "k", "tile"), [(50, 1, (7, 9)), (50, 4, (50, 3)), (33, 2, (1024, 1024)), (400, 3, (64, 192)), (400, 1, (100, 400))]
)
def test_entropy_and_neighbours_agree_with_the_loop(count: int, k: int, tile: tuple[int, int]) -> None:
    bank = bank_of(count)
    found = discover(MemoryBank(bank), k, TAU, tile)
    entropies, nearest = slow_discovery(bank, k)
    assert found.entropy.tolist() == pytest.approx(entropies, abs=1e-5)
    assert found.nearest.tolist() == nearest


def test_update_is_the_normalised_moving_average_of_the_rows_named() -> None:
    rows = bank_of(10)
    z = bank_of(3, seed=1)
    bank = MemoryBank(rows.clone(), momentum=0.5)
    bank.update(torch.tensor([7, 2, 5]), z)
    for b, i in enumerate((7, 2, 5)):
        mixed = [0.5 * v + 0.5 * w for v, w in zip(rows[i].tolist(), z[b].tolist(), strict=True)]
        norm = math.sqrt(sum(m * m for m in mixed))
        assert bank.rows[i].tolist() == pytest.approx([m / norm for m in mixed], abs=1e-5)
    untouched = [i for i in range(10) if i not in (7, 2, 5)]
    assert torch.equal(bank.rows[untouched], rows[untouched])


def test_a_new_bank_holds_unit_vectors_that_the_seed_decides() -> None:
    first = MemoryBank.random(100, 16, 0.5, seed=3, device=torch.device("cpu"), ranks=Ranks()).rows
    again = MemoryBank.random(100, 16, 0.5, seed=3, device=torch.device("cpu"), ranks=Ranks()).rows
    other = MemoryBank.random(100, 16, 0.5, seed=4, device=torch.device("cpu"), ranks=Ranks()).rows
    assert torch.allclose(first.norm(dim=1), torch.ones(100))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("round_", "expected"), [(0, 0), (1, 2), (2, 5), (3, 7), (4, 10), (9, 10)])
def test_the_number_of_anchors(round_: int, expected: int) -> None:
    assert len(select_anchors(torch.rand(10), 0.25, round_)) == expected


def test_anchors_are_the_lowest_entropies_with_ties_by_row() -> None:
    entropy = torch.tensor([3.0, 1.0, 2.0, 1.0, 1.0, 9.0])
    assert select_anchors(entropy, 0.5, 1).tolist() == [1, 3, 4]
    assert select_anchors(entropy, 0.34, 1).tolist() == [1, 3]


def test_only_anchors_have_neighbourhoods() -> None:
    bank = bank_of(8)
    found = discover(MemoryBank(bank), 2, TAU)
    omega = neighbourhoods(found.nearest, torch.tensor([1, 6]))
    assert omega[[1, 6]].tolist() == found.nearest[[1, 6]].tolist()
    assert (omega[[0, 2, 3, 4, 5, 7]] == -1).all()
