"""Every curvature by the kind that a file names it by."""

from __future__ import annotations

from lalora.curvature._diagonal import Diagonal
from lalora.curvature._interface import Curvature, Fitted
from lalora.curvature._kfac import Kfac
from lalora.curvature._sum import PARTS, Sum
from lalora.curvature._tri_kfac import TriKfac
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac

FITTED: dict[str, type[Fitted]] = {kind.kind: kind for kind in (Diagonal, Kfac, TriKfac, WeightKfac, WeightDiagonal)}
"""Those that `lalora.fit` can be asked for."""

CURVATURES: dict[str, type[Curvature]] = {**PARTS, Sum.kind: Sum}
