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

from lalora.curvature._alike import Alike, with_factors
from lalora.curvature._anchor import Anchor, anchors_from, fitting, homes, shapes_of
from lalora.curvature._bilinear import Penalised
from lalora.curvature._checks import require_countable, require_names
from lalora.curvature._diagonal import Diagonal
from lalora.curvature._factors import Factors
from lalora.curvature._fitted import MOMENTS_SHOW, Fitted, StatisticName
from lalora.curvature._flat import flat, grouped, in_full_precision
from lalora.curvature._interface import Quadratic
from lalora.curvature._layered import Layered
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
        return self._here.value_and_grad(delta)

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

    def used_at(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        """Stack factors and starts of one shape, straight where the adapter's tensors lie."""
        return self._at(homes(self.anchors, devices), dtype)

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

    def _at(self, where: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        alike = with_factors(self.factors, self.anchors, where, dtype)
        with in_full_precision(where.values()):
            parts = tuple(part for some in alike for part in self._parts(some))
        return Layered(parts, tuple(name for layer in where for name in self._curved(layer)))

    @cached_property
    def _here(self) -> Quadratic:
        of = {layer: self.factors.g(layer).vectors for layer in self.anchors}
        dtype = next((vectors.dtype for vectors in of.values()), torch.float32)
        return self._at({layer: vectors.device for layer, vectors in of.items()}, dtype)

    def _excited(self, layer: str) -> bool:
        return self.factors.x(layer).rank > 0 and self.factors.g(layer).rank > 0

    @abstractmethod
    def _curved(self, layer: str) -> tuple[str, ...]:
        """Names of the tensors of a layer that it costs something to move."""

    @abstractmethod
    def _parts(self, some: Alike) -> list[Penalised]:
        """Make the penalties of layers that are alike."""


class AdapterKronecker(Kronecker):
    """A Kronecker curvature over A and B themselves: ½ΔᵀΛΔ with a fixed Λ."""

    def trace(self) -> tuple[float, int]:
        """Compute Σ s²(tr X · tr B₀ᵀGB₀ + tr G · tr A₀XA₀ᵀ), and the number of weights with a penalty."""
        found, size = 0.0, 0
        # As it was stored, start and factors may be of several types.
        here = self.to(dict.fromkeys(self.names, torch.device("cpu")), torch.float32)
        for layer, anchor in here.anchors.items():
            x, g = here.factors.x(layer), here.factors.g(layer)
            out, rank, into = anchor.shape
            if anchor.b is not None:
                found += anchor.scale**2 * float(x.trace * g.to_root(anchor.b).square().sum())
                size += rank * into
            if anchor.a is not None:
                found += anchor.scale**2 * float(g.trace * x.to_root(anchor.a.T).square().sum())
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
