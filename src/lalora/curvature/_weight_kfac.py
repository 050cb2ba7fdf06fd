"""Kronecker curvature over the merged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._alike import Alike
from lalora.curvature._anchor import Anchor
from lalora.curvature._bilinear import Penalised, TrueChange
from lalora.curvature._factors import Factors
from lalora.curvature._interface import Quadratic
from lalora.curvature._kronecker import Kronecker
from lalora.curvature._weight_prior import WeightPrior
from lalora.curvature._weight_space import WeightSpace
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class WeightKfac(WeightSpace, Kronecker):
    """q(Δ) = ⟨G, ΔW X ΔWᵀ⟩ for the true ΔW = s(BA − B₀A₀), never formed."""

    kind: ClassVar[str] = "weight-kfac"
    strength: ClassVar[float] = 30.0

    @classmethod
    def of(cls, collected: Factors, anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Put factors beside the layers of an adapter, or keep them for one that comes later."""
        return cls(collected, {}) if anchors is None else super().of(collected, anchors)

    def anchored(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out."""
        return self.of(self.factors, anchors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_anchored()
        return super().names

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient: ∂/∂B = s·G ΔW X Aᵀ, ∂/∂A = s·Bᵀ G ΔW X."""
        self._require_anchored()
        return super().value_and_grad(delta)

    def prior(self, precision: float, names: Iterable[str]) -> WeightPrior:
        """Make δ‖ΔW‖²_F."""
        return WeightPrior(precision, self.anchors)

    def trace(self) -> tuple[float, int]:
        """Compute the trace of X ⊗ G, over the entries of ΔW."""
        layers = self.factors.layers
        found = sum(float(self.factors.x(layer).trace * self.factors.g(layer).trace) for layer in layers)
        return found, sum(math.prod(self.factors.shape(layer)) for layer in layers)

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average the factors; ΔW goes on being measured from where this one started."""
        return replace(super().running_mean(fresh, decay, factor_rank, factor_keep), anchors=self.anchors)

    def used_at(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        """Stack factors and starts of one shape, straight where the adapter's tensors lie."""
        self._require_anchored()
        return super().used_at(devices, dtype)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy to where the adapter's tensors lie."""
        self._require_anchored()
        return super().to(devices, dtype)

    def _curved(self, layer: str) -> tuple[str, ...]:
        return (a_name(layer), b_name(layer)) if self._excited(layer) else ()

    def _parts(self, some: Alike) -> list[Penalised]:
        return [TrueChange.of(some)]
