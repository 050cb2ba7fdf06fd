"""Curvatures over what the adapter does to the weights: they know a base model, and meet an adapter later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, shapes_of
from lalora.errors import LaloraError


class WeightSpace(ABC):
    """A charge for the true ΔW = s(BA − B₀A₀), which every factorisation of one ΔW pays alike.

    Attributes:
        anchors: A₀, B₀ and s by layer; empty until the curvature is attached.
    """

    anchors: Mapping[str, Anchor]

    @abstractmethod
    def attached(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the curvature beside the layers of an adapter; layers without an anchor are left out.

        Args:
            anchors: A₀, B₀ and s by layer.

        Returns:
            The attached curvature.

        Raises:
            LaloraError: If the curvature knows nothing of a layer, or knows it with another shape.
        """

    @abstractmethod
    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each charged tensor.

        Raises:
            LaloraError: If the curvature is not attached.
        """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows.

        Returns:
            Shape by tensor name.
        """
        return shapes_of(self.anchors)

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute q(Δ).

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar.

        Raises:
            LaloraError: If the curvature is not attached.
        """
        return 2 * self.half_quadratic_and_gradient(delta)[0]

    def _require_attached(self) -> None:
        if not self.anchors:
            raise LaloraError("this curvature belongs to a base model: attach it to an adapter first")


def change(delta_a: Tensor, delta_b: Tensor, anchor: Anchor) -> tuple[Tensor, Tensor, Tensor]:
    """Form ΔW = s((B−B₀)A + B₀(A−A₀)), which is exactly zero at Δ = 0.

    Args:
        delta_a: A − A₀, (r, d_in).
        delta_b: B − B₀, (d_out, r).
        anchor: A₀, B₀ and s.

    Returns:
        ΔW, A and B.
    """
    a = delta_a if anchor.a is None else anchor.a + delta_a
    if anchor.b is None:
        return (delta_b @ a) * anchor.scale, a, delta_b
    return (delta_b @ a + anchor.b @ delta_a) * anchor.scale, a, anchor.b + delta_b
