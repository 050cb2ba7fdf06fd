"""Diagonal curvature over the merged weights, known as EWC-LoRA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, anchors_from, fitting, homes, same_start
from lalora.curvature._checks import require_countable, require_names, require_not_negative
from lalora.curvature._fitted import SQUARES_SHOW, Fitted, StatisticName
from lalora.curvature._flat import flat, grouped, in_full_precision, total
from lalora.curvature._weight_prior import WeightPrior
from lalora.curvature._weight_space import WeightSpace, change
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class WeightDiagonal(WeightSpace, Fitted):
    """q(Δ) = Σ F∘ΔW² for the true ΔW = s(BA − B₀A₀), formed one layer at a time.

    Attributes:
        fisher: F ≥ 0 by layer, (d_out, d_in).
        anchors: A₀, B₀ and s by layer; empty until the curvature is anchored.
    """

    kind: ClassVar[str] = "weight-diagonal"
    strength: ClassVar[float] = 300.0
    statistic: ClassVar[StatisticName] = "weight squares"
    estimators: ClassVar[tuple[str, ...]] = ("sequence", "token", "batch")
    privacy: ClassVar[str] = SQUARES_SHOW
    fisher: Mapping[str, Float[Tensor, "d_out d_in"]]
    anchors: Mapping[str, Anchor] = field(default_factory=dict)

    @classmethod
    def of(cls, collected: Mapping[str, Tensor], anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Put F by layer beside the layers of an adapter, or keep it for one that comes later."""
        if anchors is None:
            return cls({layer: collected[layer] for layer in sorted(collected)})
        layers = fitting(anchors, {layer: (block.shape[0], block.shape[1]) for layer, block in collected.items()})
        return cls({layer: collected[layer] for layer in layers}, layers)

    def anchored(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out."""
        return self.of(self.fisher, anchors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_anchored()
        return tuple(name for layer in self.fisher for name in (a_name(layer), b_name(layer)))

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½Σ F∘ΔW² and its gradient: ∂/∂B = s·(F∘ΔW)Aᵀ, ∂/∂A = s·Bᵀ(F∘ΔW)."""
        self._require_anchored()
        values, gradient = [], {}
        with in_full_precision(tensor.device for tensor in delta.values()):
            for layer, fisher in self.fisher.items():
                anchor = self.anchors[layer]
                moved, a, b = change(delta[a_name(layer)], delta[b_name(layer)], anchor)
                pull = fisher * moved
                values.append(torch.dot(pull.reshape(-1), moved.reshape(-1)) * 0.5)
                gradient[a_name(layer)] = (b.T @ pull) * anchor.scale
                gradient[b_name(layer)] = (pull @ a.T) * anchor.scale
        return total(values), gradient

    def prior(self, precision: float, names: Iterable[str]) -> WeightPrior:
        """Make δ‖ΔW‖²_F."""
        return WeightPrior(precision, self.anchors)

    def trace(self) -> tuple[float, int]:
        """Compute Σ F, and the number of entries of ΔW."""
        blocks = self.fisher.values()
        return sum(float(block.sum()) for block in blocks), sum(block.numel() for block in blocks)

    def scaled(self, factor: float) -> Self:
        """Multiply F by a number ≥ 0."""
        return replace(self, fisher={layer: block * factor for layer, block in self.fisher.items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> list[Self]:
        """Add the F of one base model; parts that start from different adapters are refused."""
        same_start([part.anchors for part in parts])
        fisher: dict[str, Tensor] = {}
        for part in parts:
            for layer, block in part.fisher.items():
                fisher[layer] = fisher[layer] + block if layer in fisher else block
        return [cls({layer: fisher[layer] for layer in sorted(fisher)}, parts[0].anchors)]

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average F; ΔW goes on being measured from where this one started."""
        return self.joined([self.scaled(decay), replace(fresh, anchors=self.anchors).scaled(1 - decay)])[0]

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy to where the adapter's tensors lie."""
        self._require_anchored()
        where = homes(self.anchors, devices)
        anchors = {layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()}
        return type(self)({layer: self.fisher[layer].to(device, dtype) for layer, device in where.items()}, anchors)

    def tensors(self) -> dict[str, Tensor]:
        """Return F and anchors."""
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return flat({"F": self.fisher, "anchors": anchors})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned; what makes no curvature is refused."""
        parts = grouped(tensors)
        require_names(parts, (), ("F", "anchors"))
        found = parts.get("F", {})
        fisher = {layer: require_not_negative(layer, found[layer], 2) for layer in sorted(found)}
        shapes = {layer: (block.shape[0], block.shape[1]) for layer, block in fisher.items()}
        anchors = anchors_from(parts.get("anchors", {}), shapes)
        for layer, block in fisher.items():
            require_countable(
                layer,
                (float(block.max()) if block.numel() else 0.0) * (anchors[layer].most() if layer in anchors else 1),
            )
        return cls(fisher, anchors)
