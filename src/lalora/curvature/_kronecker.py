"""What the three Kronecker curvatures share: factors, the adapter's start, and everything but one layer's penalty."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, anchors_from, fitting, homes, shapes_of
from lalora.curvature._checks import require_countable, require_names
from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factors import Factors
from lalora.curvature._fitted import MOMENTS_SHOW, Fitted, StatisticName
from lalora.curvature._flat import flat, grouped, in_full_precision, total
from lalora.tensor_names import a_name, b_name


@dataclass(frozen=True)
class Kronecker(Fitted):
    """A penalty made of X and G of each layer.

    Attributes:
        factors: X and G.
        anchors: A₀, B₀ and s by layer, for each layer of the factors.
    """

    statistic: ClassVar[StatisticName] = "factors"
    estimators: ClassVar[tuple[str, ...]] = ("token", "sequence")
    privacy: ClassVar[str] = MOMENTS_SHOW
    factors: Factors
    anchors: Mapping[str, Anchor]

    @classmethod
    def of(cls, collected: Factors, anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Put factors beside the layers of an adapter; layers without an anchor are left out."""
        assert anchors is not None, "only a curvature in weight space meets its adapter later"
        layers = fitting(anchors, {layer: collected.shape(layer) for layer in collected.layers})
        return cls(collected.restricted(layers), layers)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(name for layer in self.anchors for name in self._curved(layer))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows."""
        return shapes_of(self.anchors)

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient, in O(d·k·r) a layer."""
        values: list[Tensor] = []
        gradient: dict[str, Tensor] = {}
        with in_full_precision(delta):
            for layer in self.anchors:
                value, blocks = self._layer(layer, delta)
                values += value
                gradient |= blocks
        return total(values), gradient

    def scaled(self, factor: float) -> Self:
        """Multiply every G by a number ≥ 0."""
        return replace(self, factors=self.factors.scaled(factor))

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average the factors, none larger than the larger of the two; they then meet the A and B of `fresh`."""
        both = (self.factors, fresh.factors)
        mean = Factors.mean(both, (decay, 1 - decay)).no_larger_than(both)
        return replace(fresh, factors=mean.truncated(factor_rank, factor_keep))

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy to where the adapter's tensors lie."""
        where = homes(self.anchors, devices)
        anchors = {layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()}
        return replace(self, factors=self.factors.restricted(anchors).to(where, dtype), anchors=anchors)

    def tensors(self) -> dict[str, Tensor]:
        """Return factors and anchors."""
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return flat({"factors": self.factors.tensors(), "anchors": anchors})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned; what makes no curvature is refused."""
        parts = grouped(tensors)
        require_names(parts, ("factors",), ("anchors",))
        factors = Factors.from_tensors(parts["factors"])
        anchors = anchors_from(parts.get("anchors", {}), {layer: factors.shape(layer) for layer in factors.layers})
        for layer in factors.layers:
            most = float(factors.x(layer).trace.double()) * float(factors.g(layer).trace.double())
            require_countable(layer, most * (anchors[layer].most() if layer in anchors else 1))
        return cls(factors, anchors)

    def _layer(self, layer: str, delta: Mapping[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        curved = self._curved(layer)
        if not curved:
            return [], {}
        x, g, squared = self.factors.x(layer), self.factors.g(layer), self.anchors[layer].scale ** 2
        a, b = a_name(layer), b_name(layer)
        da = x.to_root_rows(delta[a]) if a in curved else None
        db = g.to_root(delta[b]) if b in curved else None
        value, grad_a, grad_b = self._of_roots(da, db, *self._starts[layer])
        of_a = {} if grad_a is None else {a: x.from_root_rows(grad_a * squared)}
        of_b = {} if grad_b is None else {b: g.from_root(grad_b * squared)}
        return [value * (0.5 * squared)], of_a | of_b

    @cached_property
    def _starts(self) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        """A₀ in the root coordinates of X and B₀ in those of G; None where the start is zero."""
        return {
            layer: (
                None if anchor.a is None else self.factors.x(layer).to_root_rows(anchor.a),
                None if anchor.b is None else self.factors.g(layer).to_root(anchor.b),
            )
            for layer, anchor in self.anchors.items()
        }

    def _excited(self, layer: str) -> bool:
        return self.factors.x(layer).rank > 0 and self.factors.g(layer).rank > 0

    @abstractmethod
    def _curved(self, layer: str) -> tuple[str, ...]:
        """Names of the tensors of a layer that it costs something to move."""

    @abstractmethod
    def _of_roots(
        self, da: Tensor | None, db: Tensor | None, a0: Tensor | None, b0: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute q of one layer and the gradients of ½q, in root coordinates and without s² (see `_bilinear`)."""


class AdapterKronecker(Kronecker):
    """A Kronecker curvature over A and B themselves: ½ΔᵀΛΔ with a fixed Λ."""

    def trace(self) -> tuple[float, int]:
        """Compute Σ s²(tr X · tr B₀ᵀGB₀ + tr G · tr A₀XA₀ᵀ), and the number of weights with a penalty."""
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

    def prior(self, precision: float, names: Iterable[str]) -> Diagonal:
        """Make δI over the adapter."""
        return Diagonal.isotropic(precision, names)

    def _curved(self, layer: str) -> tuple[str, ...]:
        anchor = self.anchors[layer]
        if not self._excited(layer):
            return ()
        # A moves the output through B₀ alone, and B through A₀ alone.
        a = () if anchor.b is None else (a_name(layer),)
        b = () if anchor.a is None else (b_name(layer),)
        return a + b
