"""The three diagonal estimators: how gradients of one batch become squares that are summed.

g is the gradient of the summed negative log-likelihood at a linear module's output, a its input; W its weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

Inputs = Float[Tensor, "rows length d_in"]
Gradients = Float[Tensor, "rows length d_out"]


class Estimator(Protocol):
    """Collects squared gradients, tensor by tensor, into the sums that it is given."""

    def linear(self, name: str, a: Inputs, g: Gradients, only_call: bool) -> None:
        """Take inputs a (rows, length, d_in) and output gradients g (rows, length, d_out) of one call."""
        ...

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Take the gradient of any other tensor, over one row (`sequence`, `token`) or one batch (`batch`)."""
        ...

    def end_batch(self, tokens: int) -> None:
        """Close a batch (or row) of so many completion tokens."""
        ...


class Sequence:
    """Σ over sequences of the squared gradient of a sequence: exact per example."""

    def __init__(self, total: dict[str, Tensor]) -> None:
        """Add to the sums by name, each of the shape of its tensor."""
        self._total = total
        self._open: dict[str, Tensor] = {}

    def linear(self, name: str, a: Inputs, g: Gradients, only_call: bool) -> None:
        """Form each row's gradient gᵀa; square it now, or at the batch's end where a module is called again."""
        gradient = torch.bmm(g.transpose(1, 2), a)
        if only_call:
            add(self._total, name, gradient.square_().sum(dim=0))
        else:
            add(self._open, name, gradient)

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Square the gradient of one row."""
        add(self._total, name, gradient.square())

    def end_batch(self, tokens: int) -> None:
        """Square the gradients of modules that were called more than once."""
        for name, gradient in self._open.items():
            add(self._total, name, gradient.square_().sum(dim=0))
        self._open.clear()


class Token:
    """Σ over input positions of (g aᵀ)∘² = g∘² (a∘²)ᵀ; other tensors as in `sequence`."""

    def __init__(self, total: dict[str, Tensor]) -> None:
        """Add to the sums by name, each of the shape of its tensor."""
        self._total = total

    def linear(self, name: str, a: Inputs, g: Gradients, only_call: bool) -> None:
        """Add the outer products of squares."""
        add(self._total, name, g.flatten(0, 1).square().T @ a.flatten(0, 1).square())

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Square the gradient of one row: there is no input position to split it by."""
        add(self._total, name, gradient.square())

    def end_batch(self, tokens: int) -> None:
        """Nothing is held back."""


class Batch:
    """Σ over mini-batches of the squared gradient of the mini-batch's mean loss (paper, Eq. 5)."""

    def __init__(self, total: dict[str, Tensor]) -> None:
        """Add to the sums by name, each of the shape of its tensor."""
        self._total = total
        self._open: dict[str, Tensor] = {}

    def linear(self, name: str, a: Inputs, g: Gradients, only_call: bool) -> None:
        """Add to the gradient of the batch."""
        add(self._open, name, g.flatten(0, 1).T @ a.flatten(0, 1))

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Add to the gradient of the batch."""
        add(self._open, name, gradient.clone())

    def end_batch(self, tokens: int) -> None:
        """Square the gradient of the batch's mean loss."""
        for name, gradient in self._open.items():
            add(self._total, name, (gradient / tokens).square_())
        self._open.clear()


ESTIMATORS: Mapping[str, type[Sequence] | type[Token] | type[Batch]] = {
    "sequence": Sequence,
    "token": Token,
    "batch": Batch,
}


def add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add a value to the sum of its name."""
    if name in sums:
        sums[name] += value
    else:
        sums[name] = value
