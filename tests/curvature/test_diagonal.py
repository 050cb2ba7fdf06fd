"""Diagonal curvature against the dense quadratic."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lalora.curvature import Curvature, Diagonal, combined

SHAPES = {"layer.lora_A.weight": (2, 5), "layer.lora_B.weight": (4, 2)}


def random_tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}


def diagonal(seed: int) -> Diagonal:
    return Diagonal.of({name: value.square() for name, value in random_tensors(seed).items()})


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].reshape(-1) for name in SHAPES])


@given(seed=st.integers(0, 10_000))
def test_against_the_dense_matrix(seed: int) -> None:
    curvature, delta = diagonal(seed), random_tensors(seed + 1)
    dense = torch.diag(flat(curvature.tensors()))
    assert torch.allclose(flat(curvature.value_and_grad(delta)[1]), dense @ flat(delta))
    assert torch.allclose(curvature.quadratic(delta), flat(delta) @ dense @ flat(delta))
    charge, gradient = curvature.value_and_grad(delta)
    assert torch.allclose(2 * charge, flat(delta) @ dense @ flat(delta))
    assert torch.equal(flat(gradient), flat(curvature.value_and_grad(delta)[1]))


@given(seed=st.integers(0, 10_000))
def test_positive_semi_definite_and_zero_at_zero(seed: int) -> None:
    curvature = diagonal(seed)
    assert curvature.quadratic(random_tensors(seed + 1)) >= 0
    assert curvature.quadratic({name: torch.zeros(shape).double() for name, shape in SHAPES.items()}) == 0


def test_scaled_and_joined() -> None:
    first, second, delta = diagonal(1), diagonal(2), random_tensors(3)
    mean = combined([first, second], 0.5)
    assert torch.allclose(mean.quadratic(delta), (first.quadratic(delta) + second.quadratic(delta)) / 2)


def test_a_block_of_zeros_is_not_kept() -> None:
    curvature = Diagonal.of({"a": torch.zeros(2, 3), "b": torch.ones(3)})
    assert curvature.names == ("b",)
    assert list(curvature.value_and_grad({"a": torch.ones(2, 3), "b": torch.full((3,), 2.0)})[1]) == ["b"]


def test_parts_that_name_different_tensors() -> None:
    total = combined([Diagonal.of({"a": torch.ones(2)}), Diagonal.of({"b": torch.ones(3)})])
    assert total.names == ("a", "b")


def test_no_curvature_at_all() -> None:
    nothing = Diagonal.of({"a": torch.zeros(2)})
    assert nothing.value_and_grad({"a": torch.ones(2)})[1] == {}
    assert nothing.quadratic({"a": torch.ones(2)}) == 0


@pytest.mark.parametrize("seed", range(3))
def test_flat_tensors_and_back(seed: int) -> None:
    curvature: Curvature = diagonal(seed)
    again = Diagonal.from_tensors(dict(reversed(curvature.tensors().items())))
    assert again.names == curvature.names
    assert torch.equal(again.quadratic(random_tensors(9)), curvature.quadratic(random_tensors(9)))
