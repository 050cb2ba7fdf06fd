"""Prior precision: an isotropic charge that holds the directions of which a few batches say nothing.

A posterior's precision is Λ + δI; as curvatures, `Sum.of([curvature, prior])`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor, a_name, b_name, homes
from lalora.curvature._believed import LARGEST, named, require_countable, require_names, require_number
from lalora.curvature._bilinear import true_change
from lalora.curvature._flat import flat, grouped, total, undisturbed
from lalora.curvature._weight_space import WeightSpace


@dataclass(frozen=True)
class AdapterPrior:
    """δ‖Δ‖², over the adapter tensors that are named.

    Attributes:
        precision: δ ≥ 0 by tensor name.
    """

    kind: ClassVar[str] = "adapter-prior"
    precision: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(self.precision)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows.

        Returns:
            Shape by tensor name.
        """
        return {}

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute δ‖Δ‖².

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar.
        """
        return 2 * self.half_quadratic_and_gradient(delta)[0]

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½δ‖Δ‖² and δΔ.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.
        """
        product = self.apply(delta)
        charges = [torch.dot(delta[name].reshape(-1), block.reshape(-1)) for name, block in product.items()]
        return total(charges) / 2, product

    def apply(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute δΔ.

        Args:
            delta: Displacement by tensor name.

        Returns:
            The product, a tensor for each of `names`.
        """
        return {name: delta[name] * precision for name, precision in self.precision.items()}

    def scaled(self, factor: float) -> Self:
        """Multiply δ by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled prior.
        """
        return replace(self, precision={name: precision * factor for name, precision in self.precision.items()})

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Do nothing: numbers work everywhere.

        Args:
            devices: Device by tensor name.
            dtype: A type.

        Returns:
            The prior itself.
        """
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            δ by tensor name.
        """
        return {name: torch.tensor(precision, dtype=torch.float64) for name, precision in self.precision.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: δ by tensor name.

        Returns:
            The prior.

        Raises:
            LaloraError: If one is no number, or out of range.
        """
        return cls({name: require_number(name, tensors[name], 0, LARGEST) for name in sorted(tensors)})


@dataclass(frozen=True)
class WeightPrior(WeightSpace):
    """δ‖ΔW‖² for the true ΔW = s(BA − B₀A₀), never formed.

    Attributes:
        precision: δ ≥ 0.
        anchors: A₀, B₀ and s by layer; empty until the prior is attached.
    """

    kind: ClassVar[str] = "weight-prior"
    precision: float
    anchors: Mapping[str, Anchor] = field(default_factory=dict)

    def attached(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the prior beside the layers of an adapter.

        Args:
            anchors: A₀, B₀ and s by layer.

        Returns:
            The attached prior.
        """
        return replace(self, anchors=dict(sorted(anchors.items())))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        self._require_attached()
        return tuple(name for layer in self.anchors for name in (a_name(layer), b_name(layer)))

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½δ‖ΔW‖² and its gradient.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.

        Raises:
            LaloraError: If the prior is not attached.
        """
        self._require_attached()
        charges, gradient = [], {}
        with undisturbed(delta):
            for layer, anchor in self.anchors.items():
                weight = self.precision * anchor.scale**2
                a0 = None if anchor.a is None else anchor.a.T
                charge, back_a, back_b = true_change(delta[a_name(layer)].T, delta[b_name(layer)], a0, anchor.b)
                charges.append(charge * (0.5 * weight))
                gradient[a_name(layer)] = back_a.T.contiguous() * weight
                gradient[b_name(layer)] = back_b * weight
        return total(charges), gradient

    def scaled(self, factor: float) -> Self:
        """Multiply δ by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled prior.
        """
        return replace(self, precision=self.precision * factor)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the start to where the adapter's tensors lie.

        Args:
            devices: Device by tensor name; layers of which none is named are left out.
            dtype: Type of its tensors.

        Returns:
            The copy.

        Raises:
            LaloraError: If the prior is not attached.
        """
        self._require_attached()
        where = homes(self.anchors, devices)
        return replace(self, anchors={layer: self.anchors[layer].to(device, dtype) for layer, device in where.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            Tensors by name.
        """
        anchors = flat({layer: anchor.tensors() for layer, anchor in self.anchors.items()})
        return {"precision": torch.tensor(self.precision, dtype=torch.float64)} | flat({"anchors": anchors})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: Tensors by name.

        Returns:
            The prior.

        Raises:
            LaloraError: If a tensor is missing, too many, or makes no prior.
        """
        parts = grouped({name: tensor for name, tensor in tensors.items() if name != "precision"})
        require_names({name.split("/")[0]: tensor for name, tensor in tensors.items()}, ("precision",), ("anchors",))
        starts = {
            layer: named(layer, Anchor.from_tensors, part) for layer, part in grouped(parts.get("anchors", {})).items()
        }
        precision = require_number("precision", tensors["precision"], 0, LARGEST)
        for layer, anchor in starts.items():
            require_countable(layer, precision * anchor.most())
        return cls(precision, starts)
