"""The three diagonal estimators: how gradients of one batch become squares that are summed.

g is the gradient of the summed negative log-likelihood at a linear module's output, a its input; W its weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Estimator(Protocol):
    """Collects squared gradients, tensor by tensor."""

    total: dict[str, Tensor]
    """The sum so far, of the shape of each tensor."""

    def linear(self, name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
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

    def __init__(self) -> None:
        """Start at zero."""
        self.total: dict[str, Tensor] = {}
        self._open: dict[str, Tensor] = {}

    def linear(self, name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
        """Form each row's gradient gᵀa; square it now, or at the batch's end where a module is called again."""
        gradient = torch.bmm(g.transpose(1, 2), a)
        if only_call:
            _add(self.total, name, gradient.square_().sum(dim=0))
        else:
            _add(self._open, name, gradient)

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Square the gradient of one row."""
        _add(self.total, name, gradient.square())

    def end_batch(self, tokens: int) -> None:
        """Square the gradients of modules that were called more than once."""
        for name, gradient in self._open.items():
            _add(self.total, name, gradient.square_().sum(dim=0))
        self._open.clear()


class Token:
    """Σ over input positions of (g aᵀ)∘² = g∘² (a∘²)ᵀ; other tensors as in `sequence`."""

    def __init__(self) -> None:
        """Start at zero."""
        self.total: dict[str, Tensor] = {}

    def linear(self, name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
        """Add the outer products of squares."""
        _add(self.total, name, g.flatten(0, 1).square().T @ a.flatten(0, 1).square())

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Square the gradient of one row: there is no input position to split it by."""
        _add(self.total, name, gradient.square())

    def end_batch(self, tokens: int) -> None:
        """Nothing is held back."""


class Batch:
    """Σ over mini-batches of the squared gradient of the mini-batch's mean loss (paper, Eq. 5)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.total: dict[str, Tensor] = {}
        self._open: dict[str, Tensor] = {}

    def linear(self, name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
        """Add to the gradient of the batch."""
        _add(self._open, name, g.flatten(0, 1).T @ a.flatten(0, 1))

    def tensor(self, name: str, gradient: Tensor) -> None:
        """Add to the gradient of the batch."""
        _add(self._open, name, gradient.clone())

    def end_batch(self, tokens: int) -> None:
        """Square the gradient of the batch's mean loss."""
        for name, gradient in self._open.items():
            _add(self.total, name, (gradient / tokens).square_())
        self._open.clear()


ESTIMATORS: Mapping[str, type[Sequence] | type[Token] | type[Batch]] = {
    "sequence": Sequence,
    "token": Token,
    "batch": Batch,
}


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    if name in sums:
        sums[name] += value
    else:
        sums[name] = value
