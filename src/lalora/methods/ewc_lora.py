"""EWC-LoRA: elastic weight consolidation (Kirkpatrick et al., 2017) over what the adapter does to the weights."""

from __future__ import annotations

from lalora.curvature import WeightDiagonal
from lalora.methods.lalora import LaLoRA


class EwcLora(LaLoRA):
    """LaLoRA with `weight-diagonal`: target loss + λ·½ΣF∘ΔW², F the diagonal Fisher of the merged weights."""

    name = "ewc-lora"
    label = "EWC-LoRA"
    citation = "Kirkpatrick et al., 2017"
    needs = "a fit on source text; as much memory as the adapted weights"
    grid = (100.0, 1000.0, 10000.0)
    # A diagonal has no factors.
    fixed = {"curvature": WeightDiagonal.kind, "factor_rank": None, "factor_keep": None}  # ruff: ignore[mutable-class-default]
