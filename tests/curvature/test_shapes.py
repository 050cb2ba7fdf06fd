"""Shapes in the annotations are checked while tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lalora.curvature import Anchor, Factor, WeightDiagonal
from lalora.curvature._bilinear import dot
from lalora.curvature._stack import Together


def test_a_factor_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        Factor(torch.eye(3), torch.ones(2))
    with pytest.raises(TypeCheckError):
        Factor.of_matrix(torch.ones(3, 2))
    factor = Factor.of_matrix(torch.eye(3))
    for work in (factor.to_root, factor.from_root, factor.times):
        with pytest.raises(TypeCheckError):
            work(torch.ones(2, 5))


def test_rows_and_stacks_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        dot(torch.ones(4, 2, 2), torch.ones(4, 3, 3))
    stack = Together(torch.ones(3, 5, 2))
    stack.roots_and_products(torch.ones(3, 4, 5), torch.ones(3, 4, 2))
    with pytest.raises(TypeCheckError):
        stack.roots_and_products(torch.ones(3, 4, 5), torch.ones(3, 3, 2))


def test_layers_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        Anchor.of(torch.ones(2, 5), torch.ones(4, 3), 1.0)
    with pytest.raises(TypeCheckError):
        WeightDiagonal({"layer": torch.ones(4)})
