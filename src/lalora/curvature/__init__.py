"""Curvatures: what it costs an adapter to move, as pure tensors."""

from lalora.curvature._added import Added
from lalora.curvature._anchor import Anchor
from lalora.curvature._averaged import averaged, weight_kfacs
from lalora.curvature._catalogue import FITTED
from lalora.curvature._checks import require_finite, require_names
from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factor import Factor
from lalora.curvature._factors import Factors
from lalora.curvature._fitted import Fitted
from lalora.curvature._flat import grouped
from lalora.curvature._interface import Curvature, Quadratic
from lalora.curvature._kfac import Kfac
from lalora.curvature._kronecker import Kronecker
from lalora.curvature._stored import CURVATURES
from lalora.curvature._sum import Sum, combined
from lalora.curvature._tri_kfac import TriKfac
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac
from lalora.curvature._weight_prior import WeightPrior
from lalora.curvature._weight_space import WeightSpace

__all__ = [
    "CURVATURES",
    "FITTED",
    "Added",
    "Anchor",
    "Curvature",
    "Diagonal",
    "Factor",
    "Factors",
    "Fitted",
    "Kfac",
    "Kronecker",
    "Quadratic",
    "Sum",
    "TriKfac",
    "WeightDiagonal",
    "WeightKfac",
    "WeightPrior",
    "WeightSpace",
    "averaged",
    "combined",
    "grouped",
    "require_finite",
    "require_names",
    "weight_kfacs",
]
