"""What the three Kronecker curvatures share: factors, where the adapter starts, and everything but the charge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, a_name, anchors_from, b_name, fitting, homes, shapes_of
from lalora.curvature._believed import require_countable, require_names
from lalora.curvature._factors import Factors
from lalora.curvature._flat import flat, grouped, total, undisturbed


@dataclass(frozen=True)
class Kronecker(ABC):
    """A charge made of X and G of each layer.

    Attributes:
        factors: X and G.
        anchors: A₀, B₀ and s by layer, for each layer of the factors.
    """

    kind: ClassVar[str]
    estimators: ClassVar[tuple[str, ...]] = ("token", "sequence")
    factors: Factors
    anchors: Mapping[str, Anchor]

    @classmethod
    def of(cls, factors: Factors, anchors: Mapping[str, Anchor]) -> Self:
        """Put factors beside the layers of an adapter.

        Args:
            factors: X and G; layers without an anchor are left out.
            anchors: A₀, B₀ and s by layer.

        Returns:
            The curvature.

        Raises:
            LaloraError: If a layer has no factors, or they are of another size.
        """
        layers = fitting(anchors, {layer: factors.shape(layer) for layer in factors.layers})
        return cls(factors.restricted(layers), layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(name for layer in self.anchors for name in self._charged(layer))

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
        """
        return 2 * self.half_quadratic_and_gradient(delta)[0]

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient, in O(d·k·r) a layer.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.
        """
        charges: list[Tensor] = []
        gradient: dict[str, Tensor] = {}
        with undisturbed(delta):
            for layer in self.anchors:
                charge, blocks = self._layer(layer, delta)
                charges += charge
                gradient |= blocks
        return total(charges), gradient

    def scaled(self, factor: float) -> Self:
        """Multiply the charge by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled curvature.
        """
        return replace(self, factors=self.factors.scaled(factor))

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the curvature to where the adapter's tensors lie.

        Args:
            devices: Device by tensor name; layers of which none is named are left out.
            dtype: Type of its tensors.

        Returns:
            The copy.
        """
        where = homes(self.anchors, devices)
        anchors = {layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()}
        return replace(self, factors=self.factors.restricted(anchors).to(where, dtype), anchors=anchors)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            Tensors by name.
        """
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return flat({"factors": self.factors.tensors(), "anchors": anchors})

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
        require_names(parts, ("factors",), ("anchors",))
        factors = Factors.from_tensors(parts["factors"])
        anchors = anchors_from(parts.get("anchors", {}), {layer: factors.shape(layer) for layer in factors.layers})
        for layer in factors.layers:
            most = float(factors.x(layer).trace.double()) * float(factors.g(layer).trace.double())
            require_countable(layer, most * (anchors[layer].most() if layer in anchors else 1))
        return cls(factors, anchors)

    def _layer(self, layer: str, delta: Mapping[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        charged = self._charged(layer)
        if not charged:
            return [], {}
        x, g, squared = self.factors.x(layer), self.factors.g(layer), self.anchors[layer].scale ** 2
        a, b = a_name(layer), b_name(layer)
        da = x.half_rows(delta[a]) if a in charged else None
        db = g.half(delta[b]) if b in charged else None
        charge, back_a, back_b = self._charge(da, db, *self._starts[layer])
        of_a = {} if back_a is None else {a: x.back_rows(back_a * squared)}
        of_b = {} if back_b is None else {b: g.back(back_b * squared)}
        return [charge * (0.5 * squared)], of_a | of_b

    @cached_property
    def _starts(self) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        """Halves of A₀ under X and of B₀ under G; None where the start is zero."""
        return {
            layer: (
                None if anchor.a is None else self.factors.x(layer).half_rows(anchor.a),
                None if anchor.b is None else self.factors.g(layer).half(anchor.b),
            )
            for layer, anchor in self.anchors.items()
        }

    def _excited(self, layer: str) -> bool:
        return self.factors.x(layer).rank > 0 and self.factors.g(layer).rank > 0

    @abstractmethod
    def _charged(self, layer: str) -> tuple[str, ...]:
        """Names of the tensors of a layer that it costs something to move."""

    @abstractmethod
    def _charge(
        self, da: Tensor | None, db: Tensor | None, a0: Tensor | None, b0: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Charge for one layer, in halves, without s² (see `_bilinear`)."""


class AdapterKronecker(Kronecker):
    """A Kronecker curvature over A and B themselves: ½ΔᵀΛΔ with a fixed Λ."""

    def trace(self) -> tuple[float, int]:
        """Compute tr Λ: s²(tr X · tr B₀ᵀGB₀ + tr G · tr A₀XA₀ᵀ) a layer.

        Returns:
            The trace, and the number of charged weights.
        """
        found, size = 0.0, 0
        # As it was stored, start and factors may be of several types.
        here = self.to(dict.fromkeys(self.names, torch.device("cpu")), torch.float32)
        for layer, anchor in here.anchors.items():
            a0, b0 = here._starts[layer]
            out, rank, into = anchor.shape
            if b0 is not None:
                found += anchor.scale**2 * float(here.factors.x(layer).trace * b0.square().sum())
                size += rank * into
            if a0 is not None:
                found += anchor.scale**2 * float(here.factors.g(layer).trace * a0.square().sum())
                size += out * rank
        return found, size

    def apply(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute ΛΔ.

        Args:
            delta: Displacement by tensor name.

        Returns:
            The product, a tensor for each of `names`.
        """
        return self.half_quadratic_and_gradient(delta)[1]

    def _charged(self, layer: str) -> tuple[str, ...]:
        anchor = self.anchors[layer]
        if not self._excited(layer):
            return ()
        # A moves the output through B₀ alone, and B through A₀ alone.
        a = () if anchor.b is None else (a_name(layer),)
        b = () if anchor.a is None else (b_name(layer),)
        return a + b
