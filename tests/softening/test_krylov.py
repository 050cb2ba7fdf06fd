"""In large layers the best solution of a small space is taken: how much worse it is than the best of all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lalora.softening import _krylov
from lalora.softening._krylov import extended_krylov
from lalora.softening._pencil import Pencil
from softening.test_solver import Pair, cut, matrices, objective, shrunk


def problem(size: int, rank: int, rows: int) -> tuple[Tensor, Tensor, Pair, Pair]:
    generator = torch.Generator().manual_seed(3)
    b = torch.randn(size, rank, generator=generator, dtype=torch.float64)
    a = torch.randn(rank, size - 20, generator=generator, dtype=torch.float64)
    target, source = ((shrunk(size, rows, seed, 1 / 11), shrunk(size - 20, rows, seed + 1, 1 / 11)) for seed in (1, 3))
    return b, a, target, source


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("rows", [40, 2000])
def test_it_costs_half_a_hundredth_of_the_objective_at_most(
    rows: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, a, target, source = problem(320, 4, rows)
    assert Pencil.of(target[0], source[0], b)[0].basis is not None
    found = cut(b, a, target, source, strength)
    monkeypatch.setattr(_krylov, "_SMALL", 10**6)
    assert Pencil.of(target[0], source[0], b)[0].basis is None
    best = cut(b, a, target, source, strength)
    costs = [float(objective(one, b @ a, matrices(target), matrices(source), strength)) for one in (found, best)]
    assert costs[0] <= costs[1] * 1.005


def test_the_basis_is_orthonormal_and_ends_where_nothing_new_comes() -> None:
    size, rank = 300, 2
    columns = torch.randn(size, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target, source = shrunk(size, 3, 1), shrunk(size, 2, 2)
    basis = extended_krylov(target, source, columns)
    assert basis is not None
    # Both factors are multiples of the identity outside of five directions.
    assert basis.shape[1] <= 5
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).double(), atol=1e-10)


def test_columns_of_lower_rank_and_a_source_of_none() -> None:
    size = 300
    one = torch.randn(size, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns = torch.cat([one, 2 * one, 0 * one], dim=1)
    pencil, coordinates = Pencil.of(shrunk(size, 30, 1), shrunk(size, 0, 2), columns)
    assert pencil.basis is not None
    assert torch.allclose(pencil.columns(coordinates), columns, atol=1e-9)
    assert float(pencil.ratios.max()) == pytest.approx(0, abs=1e-12)
