"""A curvature factor of few rows, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.curvature import Factor

SHARE = 1 / 11
"""ρ: a tenth of the mean eigenvalue is added to each. Measured beside rules that go by the number of rows."""


@dataclass(frozen=True)
class Shrunk:
    """(1 − ρ)F + ρ·tr(F)/d·I: what a few rows say of some directions, and the mean of it for all others.

    Attributes:
        vectors: Q, orthonormal columns.
        values: Eigenvalues along them.
        floor: Eigenvalue of every other direction.
    """

    vectors: Float[Tensor, "d k"]
    values: Float[Tensor, " k"]
    floor: float

    @classmethod
    def of(cls, factor: Factor, share: float = SHARE) -> Shrunk:
        """Shrink a factor."""
        floor = share * float(factor.trace) / factor.size
        return cls(factor.vectors, (1 - share) * factor.values + floor, (1 - share) * factor.tail + floor)

    def times(self, columns: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """Multiply without building the matrix."""
        return self._function(self.values, self.floor, columns)

    def solve(self, columns: Float[Tensor, "d m"]) -> Float[Tensor, "d m"]:
        """Multiply by the inverse; the floor must be above zero."""
        return self._function(1 / self.values, 1 / self.floor, columns)

    def inner(self, columns: Float[Tensor, "d m"]) -> Float[Tensor, "m m"]:
        """Compute the quadratic form VᵀFV, symmetric to the bit."""
        form = columns.T @ self.times(columns)
        return (form + form.T) / 2

    def to(self, dtype: torch.dtype) -> Shrunk:
        """Compute in another type from here on."""
        return replace(self, vectors=self.vectors.to(dtype), values=self.values.to(dtype))

    def _function(
        self, values: Float[Tensor, " k"], floor: float, columns: Float[Tensor, "d m"]
    ) -> Float[Tensor, "d m"]:
        return self.vectors @ ((values - floor)[:, None] * (self.vectors.T @ columns)) + floor * columns
