"""The paper's L2 baseline: an L2 penalty on A and B."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lalora.curvature import Curvature, Diagonal
from lalora.methods._squared_distance import SquaredDistance


class L2(SquaredDistance):
    """Target loss + λ‖Δ‖² over every trainable tensor (paper, §5.1)."""

    name = "l2"
    label = "L2"
    citation = "Sliwa et al., 2025, §5.1"
    needs = "a copy of the start"

    def distance(self, model: nn.Module, start: Mapping[str, Tensor]) -> Curvature:
        """Build ‖Δ‖²."""
        return Diagonal.isotropic(1.0, start)
