"""Stage I for the diagonals: squared gradients of the adapter's tensors, or of the merged weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lalora import processes
from lalora.adapter import linear_pairs, trainable_tensors
from lalora.fisher._autograd_check import Witness
from lalora.fisher._dataset import Dataset
from lalora.fisher._estimators import ESTIMATORS, add
from lalora.fisher._hooks import Taps
from lalora.fisher._other_uses import ReadBesides
from lalora.fisher._pass import all_finite
from lalora.fisher._underflow import tell_of_underflow


class DiagonalCollector:
    """Squared gradients of one dataset: linear modules through hooks, other trainable tensors through autograd.

    In each batch autograd's own gradients tell whether the hooks saw all of a trainable weight. Where they did not, it
    is differentiated by autograd from then on, and the batch is seen again.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        weights: Mapping[str, nn.Parameter],
        others: Mapping[str, nn.Parameter],
        estimator: str,
    ) -> None:
        """Name what to square; `of_adapter` and `of_weights` are the usual ways."""
        self._estimator = estimator
        self._others = dict(others)
        self._total: dict[str, Tensor] = {}
        self._open: dict[str, Tensor] = {}
        self._sums = ESTIMATORS[estimator](self._open)
        self._witness = Witness(weights)
        self._taps = Taps(modules, self._take, strict=not weights)
        self._reached: set[str] = set()
        self._largest: dict[str, Tensor] = {}
        self._besides = ReadBesides({} if weights or others else modules)
        self.parameters = [*weights.values(), *others.values(), *self._besides.parameters]

    @property
    def by_row(self) -> bool:
        """Whether autograd is needed for each row by itself."""
        return bool(self._others) and self._estimator != "batch"

    @classmethod
    def of_adapter(cls, model: nn.Module, estimator: str) -> Self:
        """Square the gradients of the adapter's own tensors."""
        tensors = trainable_tensors(model)
        modules: dict[str, nn.Module] = {}
        linear = set()
        for pair in linear_pairs(model):
            linear |= {pair.a, pair.b} & set(tensors)
            if pair.b in tensors:
                modules[pair.b] = pair.up
            # At B = 0 the gradient of A is exactly zero.
            if pair.a in tensors and not (pair.plain and not bool(pair.up.weight.any())):
                modules[pair.a] = pair.down
        weights = {name: tensors[name] for name in modules}
        return cls(modules, weights, {name: tensors[name] for name in tensors if name not in linear}, estimator)

    @classmethod
    def of_weights(cls, layers: Mapping[str, nn.Module], estimator: str) -> Self:
        """Square the gradients that the merged weights W₀ + s·BA would have, (d_out, d_in) each."""
        return cls(layers, {}, {}, estimator)

    @property
    def modules(self) -> Collection[nn.Module]:
        """The modules that hooks listen to."""
        return self._taps.modules

    def listening(self) -> AbstractContextManager[None]:
        """Attach the hooks."""
        return self._taps.listening()

    def begin(self, mask: Tensor) -> None:
        """Start a batch."""
        # What is only in a batch is held apart where the batch may have to be seen again.
        self._open = {} if self._witness.weights else self._total
        self._sums = ESTIMATORS[self._estimator](self._open)
        self._taps.begin(mask)

    def forward_done(self, scale: float) -> None:
        """Remember what gradients are multiplied by; nothing is taken from the forward pass alone."""
        self._taps.scale = self._witness.scale = scale
        self._besides.forward_done(scale)

    def end(self, tokens: int) -> bool:
        """Take the gradients that autograd left, and square what has to be squared."""
        scale = self._taps.scale
        self._besides.require_none()
        self._remember_largest(scale)
        unheard = self._witness.unheard()
        if unheard:
            self._taps.leave(unheard)
            self._others |= {name: self._witness.weights.pop(name) for name in unheard}
        for name, parameter in self._others.items():
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None and not unheard:
                self._reached.add(name)
                self._sums.tensor(name, gradient.to(torch.promote_types(gradient.dtype, torch.float32)) / scale)
        if unheard:
            return True
        self._sums.end_batch(tokens)
        if self._open is not self._total:
            for name, square in self._open.items():
                add(self._total, name, square)
        return False

    def finite(self) -> bool:
        """Tell whether every sum is finite."""
        return all_finite(list(self._total.values()))

    def add_up(self, device: torch.device) -> None:
        """Add the squares of the other processes."""
        self._total = processes.all_reduce_named(self._total, device)
        self._reached = set().union(*processes.all_gather(self._reached | self._witness.reached))

    def precision(self, dataset: Dataset) -> dict[str, Tensor]:
        """Scale the sums to the mean per-token likelihood (`batch`: to the mean over mini-batches)."""
        gone = [
            name
            for name, largest in self._largest.items()
            if bool(largest > 0) and not (name in self._total and bool(self._total[name].any()))
        ]
        if gone:
            tell_of_underflow(gone)
        scale = 1.0 / (dataset.batches if self._estimator == "batch" else dataset.tokens)
        return {name: total.mul_(scale).cpu() for name, total in self._total.items()}

    def _remember_largest(self, scale: float) -> None:
        # Squares may be zero where gradients are not.
        parameters = {**self._witness.weights, **self._others}
        found = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
        norms = torch._foreach_norm(list(found.values()), float("inf")) if found else []
        for name, norm in zip(found, norms, strict=True):
            self._remember(name, norm.to(torch.float64) / scale)

    def _remember(self, name: str, largest: Tensor) -> None:
        self._largest[name] = torch.maximum(self._largest.get(name, largest), largest)

    def unreached(self) -> set[str]:
        """Tell which trainable tensors no row has reached."""
        return {*self._witness.weights, *self._others} - self._reached - self._witness.reached

    def _take(self, name: str, a: Tensor, g: Tensor, only_call: bool) -> None:
        self._sums.linear(name, a, g, only_call)
        self._besides.see(name, self._besides.inner(name, a), g)
        if name in self._witness.weights:
            self._witness.see(name, a, g)
        else:
            self._remember(name, g.abs().max())
