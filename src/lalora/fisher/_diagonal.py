"""Stage I for `diagonal`: squared gradients of the adapter's tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from lalora.adapter import linear_pairs, trainable_tensors
from lalora.fisher._estimators import ESTIMATORS
from lalora.fisher._pass import Counts, all_finite
from lalora.fisher._taps import Taps


class DiagonalCollector:
    """Squared gradients of one dataset: linear adapters through hooks, other trainable tensors through autograd."""

    def __init__(self, model: nn.Module, estimator: str) -> None:
        """Sort the trainable tensors by how their gradient is had.

        Args:
            model: A PEFT LoRA model.
            estimator: `sequence`, `token` or `batch`.
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
        self._others = {name: parameter for name, parameter in tensors.items() if name not in linear}
        self._sums = ESTIMATORS[estimator]()
        self._taps = Taps(modules, self._sums.linear)
        self._per_batch = estimator == "batch"
        self.parameters = list(self._others.values())
        self.by_row = bool(self._others) and not self._per_batch

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

    def precision(self, counts: Counts) -> dict[str, Tensor]:
        """Scale the sums to the mean per-token likelihood (`batch`: to the mean over mini-batches).

        Args:
            counts: What was seen.

        Returns:
            D by tensor name.
        """
        scale = 1.0 / (counts.batches if self._per_batch else counts.tokens)
        return {name: total.mul_(scale) for name, total in self._sums.total.items()}
