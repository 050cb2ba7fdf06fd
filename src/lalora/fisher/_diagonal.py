"""Stage I for the diagonals: squared gradients of the adapter's tensors, or of the merged weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lalora import processes
from lalora.adapter import linear_pairs, trainable_tensors
from lalora.fisher._estimators import ESTIMATORS
from lalora.fisher._pass import Counts, all_finite
from lalora.fisher._taps import Taps


class DiagonalCollector:
    """Squared gradients of one dataset: linear modules through hooks, other trainable tensors through autograd."""

    def __init__(self, modules: Mapping[str, nn.Module], others: Mapping[str, nn.Parameter], estimator: str) -> None:
        """Name what to square; `of_adapter` and `of_weights` are the usual ways.

        Args:
            modules: Linear modules by the name of what stands for their weight.
            others: Trainable tensors that need autograd, by name.
            estimator: `sequence`, `token` or `batch`.
        """
        self._others = others
        self._sums = ESTIMATORS[estimator]()
        self._taps = Taps(modules, self._sums.linear)
        self._per_batch = estimator == "batch"
        self.parameters = list(others.values())
        self.by_row = bool(others) and not self._per_batch

    @classmethod
    def of_adapter(cls, model: nn.Module, estimator: str) -> Self:
        """Square the gradients of the adapter's own tensors.

        Args:
            model: A PEFT LoRA model.
            estimator: `sequence`, `token` or `batch`.

        Returns:
            The collector.
        """
        tensors = trainable_tensors(model)
        modules: dict[str, nn.Module] = {}
        linear = set()
        for pair in linear_pairs(model):
            linear |= {pair.a, pair.b} & set(tensors)
            if pair.b in tensors:
                modules[pair.b] = pair.up
            # At B = 0 the gradient of A is exactly zero.
            if pair.a in tensors and bool(pair.up.weight.any()):
                modules[pair.a] = pair.down
        return cls(modules, {name: tensors[name] for name in tensors if name not in linear}, estimator)

    @classmethod
    def of_weights(cls, layers: Mapping[str, nn.Module], estimator: str) -> Self:
        """Square the gradients that the merged weights W₀ + s·BA would have, (d_out, d_in) each.

        Args:
            layers: Linear layers by name, adapted or bare.
            estimator: `sequence`, `token` or `batch`.

        Returns:
            The collector.
        """
        return cls(layers, {}, estimator)

    def listening(self) -> AbstractContextManager[None]:
        """Attach the hooks.

        Returns:
            A context in which they are attached.
        """
        return self._taps.listening()

    def begin(self, mask: Tensor) -> None:
        """Start a batch.

        Args:
            mask: 1 where a position is shown, (rows, length).
        """
        self._taps.begin(mask)

    def forward_done(self) -> None:
        """Nothing is taken from the forward pass alone."""

    def end(self, tokens: int) -> None:
        """Take the gradients that autograd left, and square what has to be squared.

        Args:
            tokens: Number of completion tokens.
        """
        for name, parameter in self._others.items():
            if parameter.grad is not None:
                wide = torch.promote_types(parameter.dtype, torch.float32)
                self._sums.tensor(name, parameter.grad.to(wide))
                parameter.grad = None
        self._sums.end_batch(tokens)

    def finite(self) -> bool:
        """Tell whether every sum is finite.

        Returns:
            Whether it is.
        """
        return all_finite(list(self._sums.total.values()))

    def add_up(self, device: torch.device) -> None:
        """Add the squares of the other processes.

        Args:
            device: Where tensors go that only others saw.
        """
        self._sums.total = processes.totals(self._sums.total, device)

    def precision(self, counts: Counts) -> dict[str, Tensor]:
        """Scale the sums to the mean per-token likelihood (`batch`: to the mean over mini-batches).

        Args:
            counts: What was seen.

        Returns:
            Squares by name, on the CPU.
        """
        scale = 1.0 / (counts.batches if self._per_batch else counts.tokens)
        return {name: total.mul_(scale).cpu() for name, total in self._sums.total.items()}
