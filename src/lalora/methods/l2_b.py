"""An L2 penalty on B alone: what LaLoRA at B = 0 would penalise if it knew no curvature."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lalora.curvature import Curvature, Diagonal
from lalora.methods._squared_distance import SquaredDistance


class L2B(SquaredDistance):
    """Target loss + λ‖B − B₀‖².

    The paper's L2 baseline penalises A too. LaLoRA never does at B = 0, so this is the ablation that tells whether
    curvature or sparing A does the work.
    """

    name = "l2-b"
    label = "L2 on B"
    citation = "ablation of LaLoRA"
    needs = "a copy of the start"

    def distance(self, model: nn.Module, start: Mapping[str, Tensor]) -> Curvature:
        """Build ‖ΔB‖²."""
        return Diagonal.isotropic(1.0, [name for name in start if "lora_B" in name])
