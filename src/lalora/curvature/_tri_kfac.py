"""Block-tridiagonal Kronecker curvature over A and B (paper, Eq. 10)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lalora.curvature._bilinear import linear_change
from lalora.curvature._kfac import Kfac


class TriKfac(Kfac):
    """`Kfac` and what A and B do together: + 2⟨ΔA, R₁₂ ΔB L₁₀⟩ with R₁₂ = s²B₀ᵀG, L₁₀ = A₀X.

    It is ⟨G, dW X dWᵀ⟩ for the linearised dW = s(ΔB·A₀ + B₀·ΔA), hence positive semi-definite. Where A₀ or B₀ is zero
    there is nothing to couple, and it is `Kfac`.
    """

    kind: ClassVar[str] = "tri-kfac"
    strength: ClassVar[float] = 100.0

    def _of_roots(
        self, da: Tensor | None, db: Tensor | None, a0: Tensor | None, b0: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if da is None or db is None or a0 is None or b0 is None:
            return super()._of_roots(da, db, a0, b0)
        return linear_change(da, db, a0, b0)
