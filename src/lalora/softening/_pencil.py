"""Two curvature factors of one side of a layer, diagonal in one basis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.softening._krylov import extended_krylov
from lalora.softening._shrinkage import Shrunk


@dataclass(frozen=True)
class Pencil:
    """Generalised eigenvectors P of a target's T and a source's S: PᵀTP = I, PᵀSP = diag(γ).

    In large layers, of a small space that holds the solutions (`extended_krylov`), so that nothing of size d×d is made.

    Attributes:
        ratios: γ ≥ 0.
        basis: Orthonormal basis of the space; None where it is everything.
        vectors: P in that basis.
    """

    ratios: Float[Tensor, " m"]
    basis: Float[Tensor, "d m"] | None
    vectors: Float[Tensor, "m m"]

    @classmethod
    def of(cls, target: Shrunk, source: Shrunk, columns: Float[Tensor, "d r"]) -> tuple[Pencil, Float[Tensor, "m r"]]:
        """Decompose T, whose floor is above zero, and S in the type of the columns C; the second part is P⁻¹C."""
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

    def columns(self, coordinates: Float[Tensor, "m r"]) -> Float[Tensor, "d r"]:
        """Return from coordinates P⁻¹C to C."""
        inside: Tensor = self.vectors @ coordinates.to(self.vectors.dtype)
        if self.basis is None:
            return inside
        found: Tensor = self.basis @ inside
        return found

    def narrow(self) -> Pencil:
        """Keep it in half the memory, for its use along many strengths."""
        basis = None if self.basis is None else self.basis.float()
        return replace(self, basis=basis, vectors=self.vectors.float())
