"""A sum of Kronecker curvatures as one, against dense matrices in float64."""

from __future__ import annotations

import pytest
import torch

from curvature_oracle import LAYER, Case
from lalora import LaloraError
from lalora.curvature import Sum, WeightKfac, averaged


def kfac(case: Case) -> WeightKfac:
    return WeightKfac.of(case.factors, case.anchors)


def test_factors_are_averaged_by_weight_and_their_product_keeps_the_whole_weight() -> None:
    cases, weights = [Case(seed=1), Case(seed=2, positions=3), Case(seed=3)], (0.5, 2.0, 1.0)
    one = averaged(Sum.of([kfac(case) for case in cases], weights))
    shares = [weight / 3.5 for weight in weights]
    x = sum(share * case.X for share, case in zip(shares, cases, strict=True))
    g = sum(share * case.G for share, case in zip(shares, cases, strict=True))
    found = torch.kron(one.factors.g(LAYER).dense(), one.factors.x(LAYER).dense())
    assert torch.allclose(found, 3.5 * torch.kron(g, x), rtol=1e-10, atol=1e-12)


def test_of_tasks_with_the_same_factors_it_is_the_sum_itself() -> None:
    case = Case(seed=4)
    several = Sum.of([kfac(case), kfac(case)], [1.0, 0.5])
    assert averaged(several).quadratic(case.delta) == pytest.approx(float(several.quadratic(case.delta)), rel=1e-10)
    assert averaged(Sum.of([kfac(case)], [3.0])).quadratic(case.delta) == pytest.approx(
        3 * float(kfac(case).quadratic(case.delta)), rel=1e-10
    )


def test_another_kind_among_them_is_refused_by_name() -> None:
    case = Case()
    with pytest.raises(LaloraError, match=r"needs a Laplace with curvature='weight-kfac'.*not 'weight-diagonal'"):
        averaged(Sum.of([kfac(case), case.weight_diagonal]))
