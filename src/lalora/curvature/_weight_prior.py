"""Prior precision in weight space: it holds the directions of which a few batches say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, homes
from lalora.curvature._bilinear import true_change
from lalora.curvature._checks import LARGEST, named, require_countable, require_names, require_number
from lalora.curvature._flat import flat, grouped, in_full_precision, total
from lalora.curvature._weight_space import WeightSpace
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class WeightPrior(WeightSpace):
    """δ‖ΔW‖² for the true ΔW = s(BA − B₀A₀), never formed.

    Attributes:
        precision: δ ≥ 0.
        anchors: A₀, B₀ and s by layer; empty until the prior is anchored.
    """

    kind: ClassVar[str] = "weight-prior"
    precision: float
    anchors: Mapping[str, Anchor] = field(default_factory=dict)

    def anchored(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the prior beside the layers of an adapter."""
        return replace(self, anchors=dict(sorted(anchors.items())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_anchored()
        return tuple(name for layer in self.anchors for name in (a_name(layer), b_name(layer)))

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½δ‖ΔW‖² and its gradient."""
        self._require_anchored()
        values, gradient = [], {}
        with in_full_precision(delta):
            for layer, anchor in self.anchors.items():
                weight = self.precision * anchor.scale**2
                a0 = None if anchor.a is None else anchor.a.T
                value, grad_a, grad_b = true_change(delta[a_name(layer)].T, delta[b_name(layer)], a0, anchor.b)
                values.append(value * (0.5 * weight))
                gradient[a_name(layer)] = grad_a.T.contiguous() * weight
                gradient[b_name(layer)] = grad_b * weight
        return total(values), gradient

    def mean_eigenvalue(self) -> float:
        """Return δ."""
        return self.precision

    def prior(self, precision: float, names: Iterable[str]) -> Self:
        """Make another δ of the same layers."""
        return replace(self, precision=precision)

    def scaled(self, factor: float) -> Self:
        """Multiply δ by a number ≥ 0."""
        return replace(self, precision=self.precision * factor)

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average δ."""
        return replace(self, precision=decay * self.precision + (1 - decay) * fresh.precision)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the start to where the adapter's tensors lie."""
        self._require_anchored()
        where = homes(self.anchors, devices)
        return replace(self, anchors={layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return δ and anchors."""
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return {"precision": torch.tensor(self.precision, dtype=torch.float64)} | flat({"anchors": anchors})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned; what makes no prior is refused."""
        parts = grouped({name: tensor for name, tensor in tensors.items() if name != "precision"})
        require_names({name.split("/")[0]: tensor for name, tensor in tensors.items()}, ("precision",), ("anchors",))
        starts = {
            layer: named(layer, Anchor.from_tensors, part) for layer, part in grouped(parts.get("anchors", {})).items()
        }
        precision = require_number("precision", tensors["precision"], 0, LARGEST)
        for layer, anchor in starts.items():
            require_countable(layer, precision * anchor.most())
        return cls(precision, starts)
