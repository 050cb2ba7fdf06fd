"""Prior precision in weight space: it holds the directions of which a few batches say nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._alike import without_factors
from lalora.curvature._anchor import Anchor, homes
from lalora.curvature._bilinear import TrueChange
from lalora.curvature._checks import LARGEST, named, require_countable, require_names, require_number
from lalora.curvature._flat import flat, grouped, in_full_precision
from lalora.curvature._interface import Quadratic
from lalora.curvature._layered import Layered
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
        first = {layer: delta[a_name(layer)] for layer in self.anchors}
        dtype = next(iter(first.values())).dtype
        return self._at({layer: tensor.device for layer, tensor in first.items()}, dtype).value_and_grad(delta)

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

    def used_at(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        """Stack the starts of one shape, straight where the adapter's tensors lie."""
        self._require_anchored()
        return self._at(homes(self.anchors, devices), dtype)

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

    def _at(self, where: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        alike = without_factors(self.precision, self.anchors, where, dtype)
        with in_full_precision(where.values()):
            parts = tuple(TrueChange.of(some) for some in alike)
        return Layered(parts, tuple(name for layer in where for name in (a_name(layer), b_name(layer))))
