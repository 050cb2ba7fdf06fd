"""Shapes in the annotations are checked while tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from lalora.fisher._estimators import Token
from lalora.fisher._labels import draw
from lalora.fisher._pass import loss_and_gradient
from lalora.fisher._second_moment import SecondMoment


def test_labels_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        draw(torch.zeros(3, 7), torch.zeros(2, dtype=torch.int64), 0, 0, "")
    with pytest.raises(TypeCheckError):
        loss_and_gradient(torch.zeros(3, 7), torch.zeros(2, dtype=torch.int64))


def test_rows_of_the_wrong_shape() -> None:
    with pytest.raises(TypeCheckError):
        SecondMoment().add(torch.ones(4))


def test_gradients_of_other_positions_than_the_inputs() -> None:
    with pytest.raises(TypeCheckError):
        Token({}).linear("B", torch.ones(2, 5, 3), torch.ones(2, 4, 3), True)
