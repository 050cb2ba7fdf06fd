"""Block-tridiagonal Kronecker curvature over A and B (paper, Eq. 10)."""

from __future__ import annotations

from typing import ClassVar

from lalora.curvature._alike import Alike
from lalora.curvature._bilinear import LinearChange, Penalised
from lalora.curvature._kfac import Kfac


class TriKfac(Kfac):
    """`Kfac` and what A and B do together: + 2⟨ΔA, R₁₂ ΔB L₁₀⟩ with R₁₂ = s²B₀ᵀG, L₁₀ = A₀X.

    It is ⟨G, dW X dWᵀ⟩ for the linearised dW = s(ΔB·A₀ + B₀·ΔA), hence positive semi-definite. Where A₀ or B₀ is zero
    there is nothing to couple, and it is `Kfac`.
    """

    kind: ClassVar[str] = "tri-kfac"
    strength: ClassVar[float] = 100.0

    def _parts(self, some: Alike) -> list[Penalised]:
        if some.a0 is None or some.b0 is None:
            return super()._parts(some)
        forms = some.x.form(some.a0, some.a0), some.g.form(some.b0, some.b0)
        return [LinearChange(some.x, some.g, some.a0, some.b0, *forms)]
