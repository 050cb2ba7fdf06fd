"""Block-diagonal Kronecker curvature over A and B (paper, Eq. 8)."""

from __future__ import annotations

from typing import ClassVar

from lalora.curvature._alike import Alike
from lalora.curvature._bilinear import OneSide, Penalised
from lalora.curvature._kronecker import AdapterKronecker


class Kfac(AdapterKronecker):
    """ΔᵀΛΔ = ⟨ΔA, R₁₁ ΔA L₀₀⟩ + ⟨ΔB, R₂₂ ΔB L₁₁⟩ with L₀₀ = X, L₁₁ = A₀XA₀ᵀ, R₂₂ = s²G, R₁₁ = s²B₀ᵀGB₀.

    The block of A is zero where B₀ is, and not named then.
    """

    kind: ClassVar[str] = "kfac"
    strength: ClassVar[float] = 100.0

    def _parts(self, some: Alike) -> list[Penalised]:
        parts: list[Penalised] = []
        if some.b0 is not None:
            parts.append(OneSide(some.x, some.g.form(some.b0, some.b0)))
        if some.a0 is not None:
            parts.append(OneSide(some.g, some.x.form(some.a0, some.a0)))
        return parts
