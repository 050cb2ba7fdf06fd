"""One Kronecker curvature in the place of a sum of them, for whoever needs a single pair of factors a layer."""

from __future__ import annotations

from collections.abc import Sequence

from lalora.curvature._factors import Factors
from lalora.curvature._interface import Curvature
from lalora.curvature._sum import Sum
from lalora.curvature._weight_kfac import WeightKfac
from lalora.errors import LaloraError


def averaged(curvature: Curvature) -> WeightKfac:
    """Replace Σ w·G⊗X by (Σw)·Ḡ⊗X̄ with the weighted means Ḡ and X̄ of the factors (paper, App. D.2, Eq. 36).

    It is exact where all parts have the same factors. A single `weight-kfac` stays as it is.
    """
    parts, weights = weight_kfacs(curvature)
    if len(parts) == 1:
        return parts[0] if weights[0] == 1 else parts[0].scaled(weights[0])
    whole = sum(weights)
    mean = Factors.mean([part.factors for part in parts], [weight / (whole or 1.0) for weight in weights])
    return WeightKfac(mean.scaled(whole), parts[0].anchors)


def weight_kfacs(curvature: Curvature) -> tuple[Sequence[WeightKfac], Sequence[float]]:
    """List the parts of a curvature with their weights; all must be `weight-kfac`."""
    parts, weights = (curvature.parts, curvature.weights) if isinstance(curvature, Sum) else ((curvature,), (1.0,))
    found = [part for part in parts if isinstance(part, WeightKfac)]
    if not found or len(found) < len(parts):
        odd = next((part.kind for part in parts if not isinstance(part, WeightKfac)), curvature.kind)
        raise LaloraError(
            f"this needs a Laplace with curvature='{WeightKfac.kind}', or several such added up, not '{odd}'"
        )
    return found, weights
