"""Curvatures over the merged weights against the dense quadratic in ΔW."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from torch import Tensor

from curvature_oracle import LAYER, A, B, Case, agree, by_autograd, cases, of_weight
from lalora.curvature import Anchor, Curvature, Factor, Factors, Kfac, WeightDiagonal, WeightKfac, WeightPrior, combined
from lalora.errors import LaloraError

Dense = Callable[[Case, Tensor], Tensor]
BUILD: dict[str, Callable[[Case], Curvature]] = {
    "weight-kfac": lambda case: WeightKfac.of(case.factors, case.anchors),
    "weight-diagonal": lambda case: case.weight_diagonal,
    "weight-prior": lambda case: WeightPrior(0.3).anchored(case.anchors),
}
DENSE: dict[str, Dense] = {
    "weight-kfac": of_weight,
    "weight-diagonal": lambda case, change: (case.F * change.square()).sum(),
    "weight-prior": lambda case, change: 0.3 * change.square().sum(),
}
each = pytest.mark.parametrize("kind", list(BUILD))


@each
@pytest.mark.parametrize("zero", ["", "A", "B", "AB"])
def test_against_the_dense_quadratic(kind: str, zero: str) -> None:
    @given(case=cases(zero))
    def check(case: Case) -> None:
        curvature, dense = BUILD[kind](case), DENSE[kind]
        charge, gradient = curvature.value_and_grad(case.delta)
        wanted = dense(case, case.true_change(case.delta))
        assert torch.allclose(2 * charge, wanted, atol=1e-9)
        assert torch.allclose(curvature.quadratic(case.delta), wanted, atol=1e-9)
        assert curvature.names == tuple(gradient) == (A, B)
        assert agree(gradient, by_autograd(lambda delta: dense(case, case.true_change(delta)), case.delta))

    check()


@each
@given(case=cases())
def test_never_negative_and_zero_at_zero(kind: str, case: Case) -> None:
    curvature = BUILD[kind](case)
    assert curvature.quadratic(case.delta) > -1e-9
    charge, gradient = curvature.value_and_grad(case.zeros())
    assert charge == 0
    assert not any(block.any() for block in gradient.values())


@given(case=cases("B"))
def test_weight_kfac_is_kfac_while_only_b_moves(case: Case) -> None:
    case.delta[A] = torch.zeros_like(case.delta[A])
    weight, block = WeightKfac.of(case.factors, case.anchors), Kfac.of(case.factors, case.anchors)
    assert torch.allclose(weight.quadratic(case.delta), block.quadratic(case.delta), atol=1e-9)


@each
@given(case=cases())
def test_every_factorisation_of_one_change_pays_alike(kind: str, case: Case) -> None:
    turn = torch.eye(case.rank).double() * 2 + case.random(case.rank, case.rank).tanh() / (2 * case.rank)
    a, b = torch.linalg.inv(turn) @ (case.A0 + case.delta[A]), (case.B0 + case.delta[B]) @ turn
    curvature = BUILD[kind](case)
    turned = curvature.quadratic({A: a - case.A0, B: b - case.B0})
    assert torch.allclose(turned, curvature.quadratic(case.delta), rtol=1e-7, atol=1e-8)


@each
def test_scaled_moved_and_stored(kind: str) -> None:
    for zero in ("", "B"):
        case = Case(3, zero=zero)
        curvature = BUILD[kind](case)
        wanted = curvature.quadratic(case.delta)
        assert torch.allclose(curvature.scaled(3).quadratic(case.delta), 3 * wanted)
        again = type(curvature).from_tensors(dict(reversed(curvature.tensors().items())))
        assert again.names == curvature.names
        assert torch.equal(again.quadratic(case.delta), wanted)
        single = curvature.to({B: torch.device("cpu")}, torch.float32)
        moved = single.quadratic({name: block.float() for name, block in case.delta.items()})
        assert moved.dtype == torch.float32
        assert torch.allclose(moved.double(), wanted, rtol=1e-4)


@each
def test_a_base_model_meets_adapters_later(kind: str) -> None:
    bare: WeightKfac | WeightDiagonal | WeightPrior
    for rank in (1, 3):
        case = Case(7, rank=rank)
        bare = {
            "weight-kfac": WeightKfac.of(case.factors),
            "weight-diagonal": WeightDiagonal.of({LAYER: case.F, "other": case.F}),
            "weight-prior": WeightPrior(0.3),
        }[kind]
        stored = type(bare).from_tensors(bare.tensors())
        assert not any("anchors" in name for name in bare.tensors())
        with pytest.raises(LaloraError, match="give it the start of an adapter"):
            stored.value_and_grad(case.delta)
        with pytest.raises(LaloraError, match="give it the start of an adapter"):
            _ = stored.names
        with pytest.raises(LaloraError, match="give it the start of an adapter"):
            stored.to({}, torch.float32)
        anchored = stored.scaled(2).anchored(case.anchors)
        assert torch.allclose(anchored.quadratic(case.delta), 2 * BUILD[kind](case).quadratic(case.delta))


def test_a_file_of_other_shapes() -> None:
    case = Case(8)
    anchors = {LAYER: Anchor.of(torch.ones(2, 5), torch.ones(3, 2), 1.0)}
    for bare in (WeightKfac.of(case.factors), WeightDiagonal.of({LAYER: case.F})):
        with pytest.raises(LaloraError, match=f"'{LAYER}' is 3×5 here and 4×5"):
            bare.anchored(anchors)
        with pytest.raises(LaloraError, match="knows nothing"):
            bare.anchored({"other": case.anchors[LAYER]})


def test_weight_diagonals_add_up() -> None:
    first, second = Case(1), Case(2)
    second.A0, second.B0 = first.A0, first.B0
    both = combined([first.weight_diagonal, second.weight_diagonal])
    wanted = first.weight_diagonal.quadratic(first.delta) + second.weight_diagonal.quadratic(first.delta)
    assert torch.allclose(both.quadratic(first.delta), wanted)
    with pytest.raises(LaloraError, match="different adapters"):
        combined([Case(1).weight_diagonal, Case(2).weight_diagonal])


def test_weight_kfac_of_wide_layers_never_forms_the_change() -> None:
    wide, case = 1_000_000, Case(9)
    factors = Factors.of(
        {LAYER: Factor.of_rows(case.random(2, wide).float())}, {LAYER: Factor.of_rows(case.random(2, wide).float())}
    )
    delta = {A: case.random(1, wide).float(), B: case.random(wide, 1).float()}
    anchors = {LAYER: Anchor.of(case.random(1, wide).float(), case.random(wide, 1).float(), 1.0)}
    for curvature in (WeightKfac.of(factors, anchors), WeightPrior(1.0).anchored(anchors)):
        charge, gradient = curvature.value_and_grad(delta)
        assert charge > 0
        assert {name: block.shape for name, block in gradient.items()} == {A: (1, wide), B: (wide, 1)}
