"""The weighted sum of penalties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lalora.curvature._flat import total
from lalora.curvature._interface import Quadratic


@dataclass(frozen=True)
class Added(Quadratic):
    """q(Δ) = Σ weight·q_part(Δ).

    Attributes:
        parts: Penalties of one adapter.
        weights: A number ≥ 0 for each.
    """

    parts: tuple[Quadratic, ...]
    weights: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(sorted({name for part in self.parts for name in part.names}))

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute q(Δ), a scalar."""
        return total([part.quadratic(delta) * weight for part, weight in self._terms()])

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient."""
        values, gradient = [], dict[str, Tensor]()
        for part, weight in self._terms():
            value, blocks = part.value_and_grad(delta)
            values.append(value * weight)
            if blocks:
                scaled = list(blocks.values()) if weight == 1 else torch._foreach_mul(list(blocks.values()), weight)
                blocks = dict(zip(blocks, scaled, strict=True))
            both = [name for name in blocks if name in gradient]
            sums = (
                torch._foreach_add([gradient[name] for name in both], [blocks[name] for name in both]) if both else ()
            )
            gradient |= blocks | dict(zip(both, sums, strict=True))
        return total(values), gradient

    def _terms(self) -> Iterator[tuple[Quadratic, float]]:
        return zip(self.parts, self.weights, strict=True)
