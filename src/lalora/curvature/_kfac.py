"""Block-diagonal Kronecker curvature over A and B (paper, Eq. 8)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lalora.curvature._bilinear import one_side
from lalora.curvature._flat import total
from lalora.curvature._kronecker import AdapterKronecker


class Kfac(AdapterKronecker):
    """ΔᵀΛΔ = ⟨ΔA, R₁₁ ΔA L₀₀⟩ + ⟨ΔB, R₂₂ ΔB L₁₁⟩ with L₀₀ = X, L₁₁ = A₀XA₀ᵀ, R₂₂ = s²G, R₁₁ = s²B₀ᵀGB₀.

    The block of A is zero where B₀ is, and not named then.
    """

    kind: ClassVar[str] = "kfac"
    strength: ClassVar[float] = 100.0

    def _of_roots(
        self, da: Tensor | None, db: Tensor | None, a0: Tensor | None, b0: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        values: list[Tensor] = []
        grad_a = grad_b = None
        if da is not None and b0 is not None:
            value, grad_a = one_side(da, b0)
            values.append(value)
        if db is not None and a0 is not None:
            value, grad_b = one_side(db, a0)
            values.append(value)
        return total(values), grad_a, grad_b
