"""An L2 penalty on what the adapter does to the weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lalora.adapter import peft_model
from lalora.curvature import Curvature, WeightPrior
from lalora.laplace import anchors_of
from lalora.methods._squared_distance import SquaredDistance


class L2Weight(SquaredDistance):
    """Target loss + λ‖ΔW‖²_F for the true ΔW = s(BA − B₀A₀), never formed."""

    name = "l2-weight"
    label = "L2 on ΔW"
    citation = "ablation of LaLoRA"
    needs = "a copy of the start; plain linear LoRA"

    def distance(self, model: nn.Module, start: Mapping[str, Tensor]) -> Curvature:
        """Build ‖ΔW‖²_F."""
        return WeightPrior(1.0).anchored(anchors_of(peft_model(model), self.name))
