"""Kronecker curvature over the merged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, a_name, b_name
from lalora.curvature._bilinear import true_change
from lalora.curvature._factors import Factors
from lalora.curvature._kronecker import Kronecker
from lalora.curvature._weight_space import WeightSpace


@dataclass(frozen=True)
class WeightKfac(Kronecker, WeightSpace):
    """q(Δ) = ⟨G, ΔW X ΔWᵀ⟩ for the true ΔW = s(BA − B₀A₀), never formed."""

    kind: ClassVar[str] = "weight-kfac"

    @classmethod
    def of(cls, factors: Factors, anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Put factors beside the layers of an adapter, or keep them for one that comes later.

        Args:
            factors: X and G; with anchors, layers without one are left out.
            anchors: A₀, B₀ and s by layer; None for `attached` later.

        Returns:
            The curvature.

        Raises:
            LaloraError: If a layer has no factors, or they are of another size.
        """
        return cls(factors, {}) if anchors is None else super().of(factors, anchors)

    def attached(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out.

        Args:
            anchors: A₀, B₀ and s by layer.

        Returns:
            The attached curvature.

        Raises:
            LaloraError: If the curvature knows nothing of a layer, or knows it with another shape.
        """
        return self.of(self.factors, anchors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_attached()
        return super().names

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient: ∂/∂B = s·G ΔW X Aᵀ, ∂/∂A = s·Bᵀ G ΔW X.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.

        Raises:
            LaloraError: If the curvature is not attached.
        """
        self._require_attached()
        return super().half_quadratic_and_gradient(delta)

    def trace(self) -> tuple[float, int]:
        """Compute the trace of X ⊗ G, over the entries of ΔW.

        Returns:
            Σ tr X · tr G, and the number of entries.
        """
        layers = self.factors.layers
        found = sum(float(self.factors.x(layer).trace * self.factors.g(layer).trace) for layer in layers)
        return found, sum(math.prod(self.factors.shape(layer)) for layer in layers)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the curvature to where the adapter's tensors lie.

        Args:
            devices: Device by tensor name; layers of which none is named are left out.
            dtype: Type of its tensors.

        Returns:
            The copy.

        Raises:
            LaloraError: If the curvature is not attached.
        """
        self._require_attached()
        return super().to(devices, dtype)

    def _charged(self, layer: str) -> tuple[str, ...]:
        return (a_name(layer), b_name(layer)) if self._excited(layer) else ()

    def _charge(
        self, da: Tensor | None, db: Tensor | None, a0: Tensor | None, b0: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        assert da is not None and db is not None
        return true_change(da, db, a0, b0)
