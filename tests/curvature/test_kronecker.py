"""Kronecker curvatures over A and B against the dense matrices of Eq. 8 and Eq. 10."""

import pytest
import torch
from hypothesis import given

from curvature_oracle import (
    LAYER,
    A,
    B,
    Case,
    agree,
    by_autograd,
    cases,
    dense_kfac,
    dense_tri_kfac,
    of_adapter,
    of_weight,
)
from lalora.curvature import Anchor, Factor, Factors, Kfac, Sum, TriKfac, WeightKfac
from lalora.errors import LaloraError

DENSE = {Kfac: dense_kfac, TriKfac: dense_tri_kfac}
KINDS = [Kfac, TriKfac]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", ["", "A", "B", "AB"])
def test_against_the_dense_matrix(kind: type[Kfac], zero: str) -> None:
    @given(case=cases(zero))
    def check(case: Case) -> None:
        curvature = kind.of(case.factors, case.anchors)
        matrix = DENSE[kind](case)
        assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-9
        wanted = of_adapter(matrix, case.delta)
        charge, gradient = curvature.value_and_grad(case.delta)
        assert torch.allclose(2 * charge.double(), wanted, atol=1e-9)
        assert torch.allclose(curvature.quadratic(case.delta).double(), wanted, atol=1e-9)
        assert agree(gradient, by_autograd(lambda delta: of_adapter(matrix, delta), case.delta))
        assert agree(curvature.value_and_grad(case.delta)[1], gradient)
        # A moves the output through B₀ alone, and B through A₀ alone.
        charged = [name for name, other in ((A, "B"), (B, "A")) if other not in zero]
        assert list(gradient) == list(curvature.names) == charged

    check()


@pytest.mark.parametrize("kind", [*KINDS, WeightKfac])
@given(case=cases())
def test_positive_semi_definite_and_zero_at_zero(kind: type[Kfac], case: Case) -> None:
    curvature = kind.of(case.factors, case.anchors)
    assert curvature.quadratic(case.delta) > -1e-9
    charge, gradient = curvature.value_and_grad(case.zeros())
    assert charge == 0
    assert not any(block.any() for block in gradient.values())


@given(case=cases("B"))
def test_tri_kfac_is_kfac_where_b_starts_at_zero(case: Case) -> None:
    block, tri = Kfac.of(case.factors, case.anchors), TriKfac.of(case.factors, case.anchors)
    assert block.names == tri.names == (B,)
    assert torch.equal(block.quadratic(case.delta), tri.quadratic(case.delta))


def test_tri_kfac_is_not_kfac_elsewhere() -> None:
    case = Case()
    block, tri = Kfac.of(case.factors, case.anchors), TriKfac.of(case.factors, case.anchors)
    assert abs(tri.quadratic(case.delta) / block.quadratic(case.delta) - 1) > 0.01


@given(case=cases())
def test_tri_kfac_charges_for_the_linearised_change(case: Case) -> None:
    tri = TriKfac.of(case.factors, case.anchors)
    assert torch.allclose(tri.quadratic(case.delta), of_weight(case, case.linear_change(case.delta)), atol=1e-9)


@given(case=cases())
def test_tri_kfac_is_what_weight_kfac_is_near_the_start(case: Case) -> None:
    step = 1e-6
    near = {name: block * step for name, block in case.delta.items()}
    tri, weight = (kind.of(case.factors, case.anchors).quadratic(near) / step**2 for kind in (TriKfac, WeightKfac))
    assert torch.allclose(tri, weight, rtol=1e-3, atol=1e-3)


def test_rows_and_columns_by_hand() -> None:
    """G belongs to rows (outputs, B), X to columns (inputs, A), and vec stacks columns."""
    x, g = torch.diag(torch.tensor([1.0, 10.0, 100.0])).double(), torch.diag(torch.tensor([2.0, 3.0])).double()
    x[0, 1] = x[1, 0] = 0.5
    g[0, 1] = g[1, 0] = 0.25
    factors = Factors.of({LAYER: Factor.of_matrix(x)}, {LAYER: Factor.of_matrix(g)})
    a0, b0 = torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.tensor([[0.0], [1.0]]).double()
    anchors = {LAYER: Anchor.of(a0, b0, 1.0)}
    delta_a, delta_b = torch.tensor([[4.0, 0.0, 5.0]]).double(), torch.tensor([[6.0], [0.0]]).double()
    delta = {A: delta_a, B: delta_b}
    # ΔB moves W[0, 2] by 6: 36·G₀₀·X₂₂. ΔA moves W[1, 0] by 4, W[1, 2] by 5: G₁₁·(16·X₀₀ + 25·X₂₂).
    blocks = 36 * 2 * 100 + 3 * (16 * 1 + 25 * 100)
    # Together: 2·6·G₀₁·(4·X₂₀ + 5·X₂₂).
    together = 2 * 6 * 0.25 * (4 * 0 + 5 * 100)
    assert Kfac.of(factors, anchors).quadratic(delta) == pytest.approx(blocks)
    assert TriKfac.of(factors, anchors).quadratic(delta) == pytest.approx(blocks + together)
    # BA − B₀A₀ = [6; 1]·[4, 0, 6] − [0; 1]·[0, 0, 1] = [[24, 0, 36], [4, 0, 5]].
    row0, row1 = 24**2 * 1 + 36**2 * 100, 4**2 * 1 + 5**2 * 100
    both = 24 * 4 * 1 + 36 * 5 * 100
    assert WeightKfac.of(factors, anchors).quadratic(delta) == pytest.approx(2 * row0 + 3 * row1 + 2 * 0.25 * both)
    change = torch.tensor([[24.0, 0.0, 36.0], [4.0, 0.0, 5.0]]).double().T.reshape(-1)
    assert change @ torch.kron(x, g) @ change == pytest.approx(2 * row0 + 3 * row1 + 2 * 0.25 * both)


@pytest.mark.parametrize("kind", [*KINDS, WeightKfac])
def test_a_mean_averages_factors_and_a_sum_averages_charges(kind: type[Kfac]) -> None:
    first, second = Case(1), Case(2)
    second.A0, second.B0, second.delta = first.A0, first.B0, first.delta
    parts = [kind.of(case.factors, case.anchors) for case in (first, second)]
    mean = Case(1)
    mean.X, mean.G = (first.X + second.X) / 2, (first.G + second.G) / 2
    exact = Factors.of({LAYER: Factor.of_matrix(mean.X)}, {LAYER: Factor.of_matrix(mean.G)})
    averaged = kind.of(Factors.mean([first.factors, second.factors]), first.anchors)
    found = averaged.quadratic(first.delta)
    assert torch.allclose(found, kind.of(exact, first.anchors).quadratic(first.delta))
    apart = Sum.of(parts, [0.5, 0.5]).quadratic(first.delta)
    assert torch.allclose(apart, sum(part.quadratic(first.delta) for part in parts) / 2)
    assert not torch.allclose(found, apart)
    itself = kind.of(Factors.mean([first.factors, first.factors]), first.anchors)
    assert torch.allclose(itself.quadratic(first.delta), parts[0].quadratic(first.delta))


def test_for_one_position_kfac_has_the_diagonal_of_the_token_fisher() -> None:
    case = Case(10, positions=1)
    x, g = case.inputs[0], case.gradients[0]
    of_a, of_b = torch.outer(case.s * case.B0.T @ g, x), torch.outer(case.s * g, case.A0 @ x)
    found = Kfac.of(case.factors, case.anchors)
    for name, gradient in ((A, of_a), (B, of_b)):
        for row, column in torch.cartesian_prod(torch.arange(gradient.shape[0]), torch.arange(gradient.shape[1])):
            unit = case.zeros()
            unit[name][row, column] = 1
            assert found.quadratic(unit) == pytest.approx(float(gradient[row, column] ** 2))


@pytest.mark.parametrize("kind", [*KINDS, WeightKfac])
def test_scaled_moved_and_stored(kind: type[Kfac]) -> None:
    for zero in ("", "B"):
        case = Case(3, zero=zero)
        curvature = kind.of(case.factors, case.anchors)
        wanted = curvature.quadratic(case.delta)
        assert torch.allclose(curvature.scaled(3).quadratic(case.delta), 3 * wanted)
        again = kind.from_tensors(dict(reversed(curvature.tensors().items())))
        assert again.names == curvature.names
        assert torch.equal(again.quadratic(case.delta), wanted)
        single = curvature.to(dict.fromkeys(curvature.names, torch.device("cpu")), torch.float32)
        moved = single.quadratic({name: block.float() for name, block in case.delta.items()})
        assert torch.allclose(moved.double(), wanted, rtol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, WeightKfac])
def test_a_layer_without_curvature(kind: type[Kfac]) -> None:
    case = Case(4)
    nothing = Factors.of({LAYER: Factor.of_matrix(torch.zeros(5, 5).double())}, dict(case.factors.outputs))
    curvature = kind.of(nothing, case.anchors)
    assert curvature.names == ()
    assert curvature.quadratic(case.delta) == 0
    assert curvature.to({}, torch.float32).names == () if kind is not WeightKfac else True


def test_layers_that_do_not_match() -> None:
    case = Case(5)
    with pytest.raises(LaloraError, match="'other', of which this curvature knows nothing"):
        Kfac.of(case.factors, {"other": case.anchors[LAYER]})
    wide = Anchor.of(torch.ones(2, 6), torch.ones(4, 2), 1.0)
    with pytest.raises(LaloraError, match=f"'{LAYER}' is 4×6 here and 4×5 in this curvature"):
        Kfac.of(case.factors, {LAYER: wide})


def test_only_the_layers_of_the_adapter() -> None:
    case = Case(6)
    factors = Factors.of(
        {LAYER: case.factors.x(LAYER)}, {LAYER: case.factors.g(LAYER), "other": case.factors.g(LAYER)}, {"other": LAYER}
    )
    assert Kfac.of(factors, case.anchors).factors.layers == (LAYER,)
