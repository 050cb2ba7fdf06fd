"""Curvatures: what it costs an adapter to move, as pure tensors."""

from lalora.curvature._anchor import Anchor
from lalora.curvature._auto_prior import mean_eigenvalue
from lalora.curvature._believed import require_finite, require_names
from lalora.curvature._catalogue import CURVATURES, FITTED
from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factor import Factor
from lalora.curvature._factors import Factors
from lalora.curvature._flat import grouped
from lalora.curvature._interface import Curvature, Fitted, LinearCurvature
from lalora.curvature._kfac import Kfac
from lalora.curvature._prior import AdapterPrior, WeightPrior
from lalora.curvature._running import added, running_mean
from lalora.curvature._sum import Sum
from lalora.curvature._tri_kfac import TriKfac
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac
from lalora.curvature._weight_space import WeightSpace
from lalora.curvature._with_prior import with_prior

__all__ = [
    "CURVATURES",
    "FITTED",
    "AdapterPrior",
    "Anchor",
    "Curvature",
    "Diagonal",
    "Factor",
    "Factors",
    "Fitted",
    "Kfac",
    "LinearCurvature",
    "Sum",
    "TriKfac",
    "WeightDiagonal",
    "WeightKfac",
    "WeightPrior",
    "WeightSpace",
    "added",
    "grouped",
    "mean_eigenvalue",
    "require_finite",
    "require_names",
    "running_mean",
    "with_prior",
]
