"""Every curvature by the kind that a file names it by."""

from __future__ import annotations

from lalora.curvature._interface import Curvature
from lalora.curvature._sum import PARTS, Sum

CURVATURES: dict[str, type[Curvature]] = {**PARTS, Sum.kind: Sum}
