"""The penalty of many layers, those of one shape at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lalora.curvature._bilinear import Penalised
from lalora.curvature._flat import in_full_precision, total
from lalora.curvature._interface import Quadratic


@dataclass(frozen=True)
class Layered(Quadratic):
    """The sum of penalties of layers.

    Attributes:
        parts: Penalties that share no tensor.
        tensors: Names of the tensors, in a fixed order.
    """

    parts: tuple[Penalised, ...]
    tensors: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return self.tensors

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient."""
        values: list[Tensor] = []
        gradient: dict[str, Tensor] = {}
        with in_full_precision(tensor.device for tensor in delta.values()):
            for part in self.parts:
                value, blocks = part.value_and_grad(delta)
                values.append(value)
                gradient |= blocks
        return total(values) / 2, {name: gradient[name] for name in self.tensors}
