"""Two curvature factors of one side of a layer, diagonal in one basis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.softening._krylov import extended_krylov
from lalora.softening._shrinkage import Shrunk


@dataclass(frozen=True)
class Pencil:
    """Generalised eigenvectors P of a target's T and a source's S: PᵀTP = I, PᵀSP = diag(γ).

    In large layers, of a small space that holds the solutions (`extended_krylov`), so that nothing of size d×d is made.

    Attributes:
        ratios: γ ≥ 0, (m,).
        basis: Orthonormal basis of the space, (d, m); None where it is everything.
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
        own, other = target.to(columns.dtype), source.to(columns.dtype)
        # Whatever it is, the best solution in it is found; so the space need not be exact.
        basis = extended_krylov(target.to(torch.float32), source.to(torch.float32), columns.float())
        if basis is not None:
            basis = torch.linalg.qr(torch.cat([columns, basis.to(columns)], dim=1)).Q
        space = torch.eye(len(columns), dtype=columns.dtype, device=columns.device) if basis is None else basis
        root = torch.linalg.cholesky(own.inner(space))
        half = torch.linalg.solve_triangular(root, other.inner(space), upper=False)
        both = torch.linalg.solve_triangular(root, half.T, upper=False)
        ratios, vectors = torch.linalg.eigh((both + both.T) / 2)
        inside = columns if basis is None else basis.T @ columns
        coordinates = vectors.T @ (root.T @ inside)
        return cls(ratios.clamp_min(0), basis, torch.linalg.solve_triangular(root.T, vectors, upper=True)), coordinates

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
