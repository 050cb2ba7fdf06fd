"""Diagonal curvature over the merged weights, known as EWC-LoRA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, a_name, anchors_from, b_name, fitting, homes, same_start
from lalora.curvature._believed import require_countable, require_names, require_not_negative
from lalora.curvature._flat import flat, grouped, total, undisturbed
from lalora.curvature._weight_space import WeightSpace, change


@dataclass(frozen=True)
class WeightDiagonal(WeightSpace):
    """q(Δ) = Σ F∘ΔW² for the true ΔW = s(BA − B₀A₀), formed one layer at a time.

    Attributes:
        fisher: F ≥ 0 by layer, (d_out, d_in).
        anchors: A₀, B₀ and s by layer; empty until the curvature is attached.
    """

    kind: ClassVar[str] = "weight-diagonal"
    estimators: ClassVar[tuple[str, ...]] = ("sequence", "token", "batch")
    fisher: Mapping[str, Tensor]
    anchors: Mapping[str, Anchor] = field(default_factory=dict)

    @classmethod
    def of(cls, fisher: Mapping[str, Tensor], anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Put F beside the layers of an adapter, or keep it for one that comes later.

        Args:
            fisher: F by layer; with anchors, layers without one are left out.
            anchors: A₀, B₀ and s by layer; None for `attached` later.

        Returns:
            The curvature.

        Raises:
            LaloraError: If a layer has no F, or it is of another shape.
        """
        if anchors is None:
            return cls({layer: fisher[layer] for layer in sorted(fisher)})
        layers = fitting(anchors, {layer: (block.shape[0], block.shape[1]) for layer, block in fisher.items()})
        return cls({layer: fisher[layer] for layer in layers}, layers)

    def attached(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out.

        Args:
            anchors: A₀, B₀ and s by layer.

        Returns:
            The attached curvature.

        Raises:
            LaloraError: If the curvature knows nothing of a layer, or knows it with another shape.
        """
        return self.of(self.fisher, anchors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_attached()
        return tuple(name for layer in self.fisher for name in (a_name(layer), b_name(layer)))

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½Σ F∘ΔW² and its gradient: ∂/∂B = s·(F∘ΔW)Aᵀ, ∂/∂A = s·Bᵀ(F∘ΔW).

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.

        Raises:
            LaloraError: If the curvature is not attached.
        """
        self._require_attached()
        charges, gradient = [], {}
        with undisturbed(delta):
            for layer, fisher in self.fisher.items():
                anchor = self.anchors[layer]
                moved, a, b = change(delta[a_name(layer)], delta[b_name(layer)], anchor)
                pull = fisher * moved
                charges.append(torch.dot(pull.reshape(-1), moved.reshape(-1)) * 0.5)
                gradient[a_name(layer)] = (b.T @ pull) * anchor.scale
                gradient[b_name(layer)] = (pull @ a.T) * anchor.scale
        return total(charges), gradient

    def trace(self) -> tuple[float, int]:
        """Compute the trace over the entries of ΔW.

        Returns:
            Σ F, and the number of entries.
        """
        blocks = self.fisher.values()
        return sum(float(block.sum()) for block in blocks), sum(block.numel() for block in blocks)

    def scaled(self, factor: float) -> Self:
        """Multiply the charge by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled curvature.
        """
        return replace(self, fisher={layer: block * factor for layer, block in self.fisher.items()})

    @classmethod
    def combined(cls, parts: Sequence[Self]) -> Self:
        """Add curvatures.

        Args:
            parts: Curvatures of one base model, attached to one start or not at all.

        Returns:
            Their sum.

        Raises:
            LaloraError: If the parts start from different adapters.
        """
        same_start([part.anchors for part in parts])
        fisher: dict[str, Tensor] = {}
        for part in parts:
            for layer, block in part.fisher.items():
                fisher[layer] = fisher[layer] + block if layer in fisher else block
        return cls({layer: fisher[layer] for layer in sorted(fisher)}, parts[0].anchors)

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
        where = homes(self.anchors, devices)
        anchors = {layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()}
        return type(self)({layer: self.fisher[layer].to(device, dtype) for layer, device in where.items()}, anchors)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            Tensors by name.
        """
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return flat({"F": self.fisher, "anchors": anchors})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: Tensors by name.

        Returns:
            The curvature.

        Raises:
            LaloraError: If a tensor is missing, too many, or makes no curvature.
        """
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
