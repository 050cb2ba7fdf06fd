"""Curvatures over what the adapter does to the weights: they know a base model, and meet an adapter later."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, shapes_of
from lalora.curvature._interface import Curvature
from lalora.errors import LaloraError
from lalora.tensor_names import a_name, b_name


class WeightSpace(Curvature):
    """A penalty for the true ΔW = s(BA − B₀A₀), the same for every factorisation of one ΔW.

    Attributes:
        anchors: A₀, B₀ and s by layer; empty until the curvature is anchored.
    """

    anchors: Mapping[str, Anchor]

    @abstractmethod
    def anchored(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out."""

    def rebased(self, mean: Mapping[str, Tensor]) -> Self:
        """Measure ΔW from another A₀ and B₀."""
        anchors = {
            layer: replace(anchor, a=mean.get(a_name(layer)), b=mean.get(b_name(layer)))
            for layer, anchor in self.anchors.items()
        }
        return replace(self, anchors=anchors)  # type: ignore[type-var]  # each is a dataclass with anchors

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows."""
        return shapes_of(self.anchors)

    def _require_anchored(self) -> None:
        if not self.anchors:
            raise LaloraError("this curvature belongs to a base model: give it the start of an adapter first")


def change(
    delta_a: Float[Tensor, "r d_in"], delta_b: Float[Tensor, "d_out r"], anchor: Anchor
) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]]:
    """Form ΔW = s((B−B₀)A + B₀(A−A₀)), which is exactly zero at Δ = 0; return it, A and B."""
    a = delta_a if anchor.a is None else anchor.a + delta_a
    if anchor.b is None:
        return (delta_b @ a) * anchor.scale, a, delta_b
    return (delta_b @ a + anchor.b @ delta_a) * anchor.scale, a, anchor.b + delta_b
