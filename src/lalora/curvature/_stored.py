"""Every curvature that a file may hold, by its kind."""

from __future__ import annotations

from lalora.curvature._catalogue import PARTS
from lalora.curvature._interface import Curvature
from lalora.curvature._sum import Sum

CURVATURES: dict[str, type[Curvature]] = {**PARTS, Sum.kind: Sum}
