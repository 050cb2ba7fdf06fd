"""Λ + δI, in the space that the curvature lives in."""

from __future__ import annotations

from collections.abc import Iterable

from lalora.curvature._interface import Curvature
from lalora.curvature._prior import AdapterPrior, WeightPrior
from lalora.curvature._sum import Sum
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac


def with_prior(curvature: Curvature, precision: float, names: Iterable[str]) -> Curvature:
    """Add a prior precision: δ‖Δ‖² over the adapter, or δ‖ΔW‖²_F for a curvature in weight space.

    Args:
        curvature: Λ, attached.
        precision: δ ≥ 0.
        names: Names of all adapter tensors.

    Returns:
        What is charged; Λ itself where δ is 0.
    """
    if precision == 0:
        return curvature
    part = curvature.parts[0] if isinstance(curvature, Sum) else curvature
    if isinstance(part, WeightKfac | WeightDiagonal):
        return Sum.of([curvature, WeightPrior(precision, part.anchors)])
    return Sum.of([curvature, AdapterPrior(dict.fromkeys(sorted(names), precision))])
