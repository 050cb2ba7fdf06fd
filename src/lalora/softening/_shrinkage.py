"""A curvature factor of few rows, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature import Factor

SHARE = 1 / 11
"""ρ: a tenth of the mean eigenvalue is added to each. Measured beside rules that go by the number of rows."""


@dataclass(frozen=True)
class Shrunk:
    """(1 − ρ)F + ρ·tr(F)/d·I: what a few rows say of some directions, and the mean of it for all others.

    Attributes:
        vectors: Q, (d, k), orthonormal columns.
        values: Eigenvalues along them, (k,).
        floor: Eigenvalue of every other direction.
    """

    vectors: Tensor
    values: Tensor
    floor: float

    @classmethod
    def of(cls, factor: Factor, share: float = SHARE) -> Self:
        """Shrink a factor.

        Args:
            factor: F, (d, d).
            share: ρ, 0 to 1.

        Returns:
            The shrunk factor.
        """
        floor = share * float(factor.trace) / factor.size
        return cls(factor.vectors, (1 - share) * factor.values + floor, floor)

    def times(self, columns: Tensor) -> Tensor:
        """Multiply without building the matrix.

        Args:
            columns: V, (d, m).

        Returns:
            The product, (d, m).
        """
        return self._function(self.values, self.floor, columns)

    def solve(self, columns: Tensor) -> Tensor:
        """Multiply by the inverse.

        Args:
            columns: V, (d, m).

        Returns:
            The product, (d, m); the floor must be above zero.
        """
        return self._function(1 / self.values, 1 / self.floor, columns)

    def inner(self, columns: Tensor) -> Tensor:
        """Compute the quadratic form.

        Args:
            columns: V, (d, m).

        Returns:
            VᵀFV, (m, m), symmetric.
        """
        form = columns.T @ self.times(columns)
        return (form + form.T) / 2

    def to(self, dtype: torch.dtype) -> Self:
        """Compute in another type from here on.

        Args:
            dtype: Of both tensors.

        Returns:
            The same factor.
        """
        return replace(self, vectors=self.vectors.to(dtype), values=self.values.to(dtype))

    def _function(self, values: Tensor, floor: float, columns: Tensor) -> Tensor:
        return self.vectors @ ((values - floor)[:, None] * (self.vectors.T @ columns)) + floor * columns
