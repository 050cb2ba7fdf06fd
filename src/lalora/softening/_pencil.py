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
        root: Rᵀ with R = VᵀT^½, of which P⁻¹ = R, (m, m).
        inverse: T^−½V, (m, m), which is P.
    """

    ratios: Tensor
    basis: Tensor | None
    root: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, target: Shrunk, source: Shrunk, columns: Tensor) -> Self:
        """Decompose a pair.

        Args:
            target: T, with a floor above zero.
            source: S.
            columns: What the solution is put together from, (d, r).

        Returns:
            The decomposition, in the type of the columns.
        """
        own = [part.to(columns) for part in (target.vectors, source.vectors)]
        span = torch.cat([*own, columns], dim=1)
        basis = torch.linalg.qr(span).Q if span.shape[1] < span.shape[0] else None
        of_target, of_source = own if basis is None else [basis.T @ vectors for vectors in own]
        values = target.values.to(columns)
        down = _power(of_target, values, target.floor, -0.5)
        up = _power(of_target, values, target.floor, 0.5)
        known = down @ (of_source * (source.values.to(columns) - source.floor).clamp_min(0).sqrt())
        ratios, vectors = torch.linalg.eigh(known @ known.T + source.floor * (down @ down))
        return cls(ratios.clamp_min(0), basis, up @ vectors, down @ vectors)

    def coordinates(self, columns: Tensor) -> Tensor:
        """Express columns of the span.

        Args:
            columns: C, (d, r).

        Returns:
            P⁻¹C, (m, r).
        """
        inside: Tensor = columns if self.basis is None else self.basis.T @ columns
        return self.root.T @ inside

    def columns(self, coordinates: Tensor) -> Tensor:
        """Undo `coordinates`.

        Args:
            coordinates: P⁻¹C, (m, r).

        Returns:
            C, (d, r).
        """
        inside: Tensor = self.inverse @ coordinates.to(self.inverse.dtype)
        if self.basis is None:
            return inside
        found: Tensor = self.basis @ inside
        return found

    def narrow(self) -> Self:
        """Keep it in half the memory, for its use along many strengths.

        Returns:
            P in float32; ratios as they were. It takes no coordinates any more.
        """
        basis = None if self.basis is None else self.basis.float()
        return replace(self, basis=basis, root=self.root.new_empty(0), inverse=self.inverse.float())


def _power(vectors: Tensor, values: Tensor, floor: float, exponent: float) -> Tensor:
    rest: float = floor**exponent
    identity = torch.eye(vectors.shape[0], dtype=vectors.dtype, device=vectors.device)
    found: Tensor = (vectors * (values**exponent - rest)) @ vectors.T + rest * identity
    return found
