"""A curvature factor of few rows, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass

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
