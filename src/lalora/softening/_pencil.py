"""Two curvature factors of one side of a layer, diagonal in one basis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.softening._shrinkage import Shrunk


@dataclass(frozen=True)
class Pencil:
    """Generalised eigenvectors P of a target's T and a source's S: PᵀTP = I, PᵀSP = diag(γ).

    Only the joint span of both factors' eigenvectors and of the columns of interest is kept, orthogonal to which both
    factors are multiples of the identity. So nothing of size d×d is made where that span is smaller than d.

    Attributes:
        ratios: γ ≥ 0, (m,).
        basis: Orthonormal basis of the span, (d, m); None where it is everything.
        vectors: P in that basis, (m, m).
    """

    ratios: Tensor
    basis: Tensor | None
    vectors: Tensor

    @classmethod
    def of(cls, target: Shrunk, source: Shrunk, columns: Tensor) -> tuple[Self, Tensor]:
        """Decompose a pair.

        Args:
            target: T, with a floor above zero.
            source: S.
            columns: C, of which the solution is put together, (d, r).

        Returns:
            The decomposition, in the type of the columns; their coordinates P⁻¹C, (m, r).
        """
        own = [part.to(columns) for part in (target.vectors, source.vectors)]
        parts = [*own, columns]
        basis = None
        if sum(part.shape[1] for part in parts) < columns.shape[0]:
            basis = torch.linalg.qr(torch.cat(parts, dim=1)).Q
            parts = [basis.T @ part for part in parts]
        of_target, of_source, inside = parts
        values = target.values.to(columns)
        down = _power(of_target, values, target.floor, -0.5)
        up = _power(of_target, values, target.floor, 0.5)
        known = down @ (of_source * (source.values.to(columns) - source.floor).clamp_min(0).sqrt())
        ratios, vectors = torch.linalg.eigh(known @ known.T + source.floor * (down @ down))
        return cls(ratios.clamp_min(0), basis, down @ vectors), vectors.T @ (up @ inside)

    def columns(self, coordinates: Tensor) -> Tensor:
        """Leave the coordinates.

        Args:
            coordinates: P⁻¹C, (m, r).

        Returns:
            C, (d, r).
        """
        inside: Tensor = self.vectors @ coordinates.to(self.vectors.dtype)
        if self.basis is None:
            return inside
        found: Tensor = self.basis @ inside
        return found

    def narrow(self) -> Self:
        """Keep it in half the memory, for its use along many strengths.

        Returns:
            P in float32; ratios as they were.
        """
        basis = None if self.basis is None else self.basis.float()
        return replace(self, basis=basis, vectors=self.vectors.float())


def _power(vectors: Tensor, values: Tensor, floor: float, exponent: float) -> Tensor:
    rest: float = floor**exponent
    identity = torch.eye(vectors.shape[0], dtype=vectors.dtype, device=vectors.device)
    found: Tensor = (vectors * (values**exponent - rest)) @ vectors.T + rest * identity
    return found
