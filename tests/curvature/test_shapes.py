"""Shapes in the annotations are checked while tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lalora.curvature import Anchor, Factor, WeightDiagonal
from lalora.curvature._bilinear import one_side, true_change


def test_a_factor_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        Factor(torch.eye(3), torch.ones(2))
    with pytest.raises(TypeCheckError):
        Factor.of_matrix(torch.ones(3, 2))
    factor = Factor.of_matrix(torch.eye(3))
    for work in (factor.to_root, factor.from_root, factor.to_root_rows, factor.times):
        with pytest.raises(TypeCheckError):
            work(torch.ones(2, 5))


def test_products_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        one_side(torch.ones(4, 2), torch.ones(4, 3))
    with pytest.raises(TypeCheckError):
        true_change(torch.ones(4, 2), torch.ones(5, 2), torch.ones(3, 2), None)


def test_layers_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        Anchor.of(torch.ones(2, 5), torch.ones(4, 3), 1.0)
    with pytest.raises(TypeCheckError):
        WeightDiagonal({"layer": torch.ones(4)})
