"""A prior precision that needs no tuning."""

from __future__ import annotations

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._interface import Curvature
from lalora.curvature._kronecker import AdapterKronecker
from lalora.curvature._sum import Sum
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac


def mean_eigenvalue(curvature: Curvature) -> float:
    """Compute tr Λ over the size of Λ, which is what `prior="auto"` stands for.

    A few batches excite few directions; with this precision a direction of which they say nothing is as stiff as the
    average one is known to be.

    Args:
        curvature: Λ as it was fitted, over the adapter's charged weights or over the entries of ΔW.

    Returns:
        The mean eigenvalue; 0 for a curvature that charges nothing.
    """
    if isinstance(curvature, Sum):
        pairs = zip(curvature.parts, curvature.weights, strict=True)
        return sum(weight * mean_eigenvalue(part) for part, weight in pairs)
    assert isinstance(curvature, Diagonal | WeightDiagonal | AdapterKronecker | WeightKfac), curvature.kind
    trace, size = curvature.trace()
    return trace / size if size else 0.0
