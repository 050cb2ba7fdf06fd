"""Sums of curvatures and priors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curvature_oracle import A, B, Case, agree, by_autograd
from lalora.curvature import CURVATURES, Curvature, Diagonal, Kfac, Sum, TriKfac, WeightKfac, WeightPrior
from lalora.errors import LaloraError


def parts(case: Case) -> list[Curvature]:
    return [
        Kfac.of(case.factors, case.anchors),
        TriKfac.of(case.factors, case.anchors),
        WeightKfac.of(case.factors, case.anchors),
        case.weight_diagonal,
        Diagonal.of({B: case.delta[B].abs()}),
        Diagonal.of({A: torch.full_like(case.delta[A], 0.5), B: torch.full_like(case.delta[B], 0.25)}),
        WeightPrior(2.0).anchored(case.anchors),
    ]


@given(seed=st.integers(0, 10_000))
def test_weighted_sum_of_every_kind(seed: int) -> None:
    case = Case(seed)
    weights = [0.5 + number for number in range(7)]
    whole = Sum.of(parts(case), weights)
    wanted = sum(weight * part.quadratic(case.delta) for weight, part in zip(weights, parts(case), strict=True))
    assert torch.allclose(whole.quadratic(case.delta), wanted)
    charge, gradient = whole.value_and_grad(case.delta)
    assert torch.allclose(2 * charge, wanted)
    assert agree(gradient, by_autograd(whole.quadratic, case.delta))
    assert whole.names == tuple(sorted(gradient))
    assert whole.quadratic(case.zeros()) == 0


def test_scaled_moved_and_stored() -> None:
    case = Case(1)
    whole = Sum.of(parts(case), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    wanted = whole.quadratic(case.delta)
    assert torch.allclose(whole.scaled(0.5).quadratic(case.delta), wanted / 2)
    again = CURVATURES["sum"].from_tensors(dict(reversed(whole.tensors().items())))
    assert torch.equal(again.quadratic(case.delta), wanted)
    single = whole.to(dict.fromkeys(whole.names, torch.device("cpu")), torch.float32)
    moved = single.quadratic({name: block.float() for name, block in case.delta.items()})
    assert torch.allclose(moved.double(), wanted, rtol=1e-4)


def test_autocast_does_not_take_bits_away() -> None:
    case = Case(5)
    cpu = torch.device("cpu")
    for part in parts(case):
        single = part.to(dict.fromkeys((A, B), cpu), torch.float32)
        delta = {name: block.float() for name, block in case.delta.items()}
        wanted, gradient = single.value_and_grad(delta)
        with torch.autocast("cpu", torch.bfloat16):
            found, same = single.value_and_grad(delta)
        assert torch.equal(found, wanted)
        assert all(torch.equal(same[name], gradient[name]) and same[name].is_contiguous() for name in gradient)


def test_more_than_ten_parts_keep_their_order() -> None:
    whole = Sum.of([Diagonal.of({B: torch.full((1, 1), float(number + 1))}) for number in range(12)], range(12))
    again = Sum.from_tensors(whole.tensors())
    assert torch.equal(again.quadratic({B: torch.ones(1, 1)}), whole.quadratic({B: torch.ones(1, 1)}))


def test_a_sum_of_sums_is_a_sum() -> None:
    case = Case(2)
    inner = Sum.of(parts(case)[:2], [2.0, 3.0])
    outer = Sum.of([inner, Diagonal.of({A: torch.ones_like(case.delta[A])})], [0.5, 1.0])
    assert outer.weights == (1.0, 1.5, 1.0)
    assert Sum.from_tensors(outer.tensors()).quadratic(case.delta) == outer.quadratic(case.delta)


def test_anchored_where_it_can_be() -> None:
    case = Case(3)
    bare = Sum.of([WeightKfac.of(case.factors), WeightPrior(0.1)])
    wanted = Sum.of([WeightKfac.of(case.factors, case.anchors), WeightPrior(0.1).anchored(case.anchors)])
    assert bare.anchored(case.anchors).quadratic(case.delta) == wanted.quadratic(case.delta)


def test_parts_that_name_different_tensors() -> None:
    case = Case(4, zero="B")
    whole = Sum.of([Kfac.of(case.factors, case.anchors), Diagonal.isotropic(0.5, [A])])
    assert whole.names == (A, B)
    assert torch.allclose(whole.value_and_grad(case.delta)[1][A], case.delta[A] / 2)


@pytest.mark.parametrize("kind", list(CURVATURES))
def test_kinds_are_named_after_themselves(kind: str) -> None:
    assert CURVATURES[kind].kind == kind


def test_one_number_for_a_whole_tensor_is_no_curvature_of_a_file() -> None:
    prior = Diagonal.isotropic(0.5, [A, B])
    case = Case(6)
    whole = {name: torch.full_like(case.delta[name], 0.5) for name in (A, B)}
    assert torch.allclose(prior.quadratic(case.delta), Diagonal.of(whole).quadratic(case.delta))
    with pytest.raises(LaloraError, match="is one number"):
        Diagonal.from_tensors(prior.tensors())
