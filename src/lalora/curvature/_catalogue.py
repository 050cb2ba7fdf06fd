"""Every curvature by the kind that options and files name it by: a new one is a file and an entry here."""

from __future__ import annotations

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._fitted import Fitted
from lalora.curvature._interface import Curvature
from lalora.curvature._kfac import Kfac
from lalora.curvature._tri_kfac import TriKfac
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac
from lalora.curvature._weight_prior import WeightPrior

FITTED: dict[str, type[Fitted]] = {kind.kind: kind for kind in (Diagonal, Kfac, TriKfac, WeightKfac, WeightDiagonal)}
"""Those that `lalora.fit` can be asked for."""

PARTS: dict[str, type[Curvature]] = {**FITTED, WeightPrior.kind: WeightPrior}
"""Those that a `Sum` may be made of."""
