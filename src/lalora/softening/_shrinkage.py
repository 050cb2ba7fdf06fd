"""A curvature factor of few rows, shrunk towards a multiple of the identity."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Self

from lalora.curvature import Factor


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
    def of(cls, factor: Factor, share: float) -> Self:
        """Shrink a factor.

        Args:
            factor: F, (d, d).
            share: ρ, 0 to 1.

        Returns:
            The shrunk factor.
        """
        floor = share * float(factor.trace) / factor.size
        return cls(factor.vectors, (1 - share) * factor.values + floor, floor)


def oracle_approximating(factor: Factor, samples: int) -> float:
    """Choose ρ by the oracle-approximating rule (Chen, Wiesel, Eldar, Hero, 2010, Eq. 23).

    Args:
        factor: A second moment, (d, d).
        samples: Independent samples that it is the mean of. Positions of one row are not independent: rows are.

    Returns:
        ρ, above 0 and at most 1.
    """
    if not factor.rank:
        return 1.0
    size, trace, square = factor.size, float(factor.trace), float(factor.values.square().sum())
    spread = (samples + 1 - 2 / size) * (square - trace**2 / size)
    wanted = (1 - 2 / size) * square + trace**2
    return wanted / spread if spread > wanted else 1.0
