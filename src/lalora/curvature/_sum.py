"""The weighted sum of any curvatures: several datasets kept apart, or a curvature and a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor
from lalora.curvature._believed import named, require_names, require_not_negative
from lalora.curvature._diagonal import Diagonal
from lalora.curvature._flat import flat, grouped, total
from lalora.curvature._interface import Curvature
from lalora.curvature._kfac import Kfac
from lalora.curvature._prior import AdapterPrior, WeightPrior
from lalora.curvature._tri_kfac import TriKfac
from lalora.curvature._weight_diagonal import WeightDiagonal
from lalora.curvature._weight_kfac import WeightKfac
from lalora.curvature._weight_space import WeightSpace
from lalora.errors import LaloraError

PARTS: dict[str, type[Curvature]] = {
    part.kind: part for part in (Diagonal, Kfac, TriKfac, WeightKfac, WeightDiagonal, AdapterPrior, WeightPrior)
}


@dataclass(frozen=True)
class Sum:
    """q(Δ) = Σ weight·q_part(Δ), exact where factors would only allow a mean of factors (paper, App. D.2).

    Attributes:
        parts: Curvatures of one adapter.
        weights: A number ≥ 0 for each.
    """

    kind: ClassVar[str] = "sum"
    parts: tuple[Curvature, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, parts: Sequence[Curvature], weights: Sequence[float] | None = None) -> Self:
        """Add curvatures.

        Args:
            parts: Curvatures of one adapter; a sum among them is taken apart.
            weights: A number ≥ 0 for each; None for ones.

        Returns:
            Their weighted sum.
        """
        terms: list[tuple[Curvature, float]] = []
        for part, weight in zip(parts, [1.0] * len(parts) if weights is None else weights, strict=True):
            if isinstance(part, Sum):
                terms += [(inner, weight * share) for inner, share in zip(part.parts, part.weights, strict=True)]
            else:
                terms.append((part, weight))
        return cls(tuple(part for part, _ in terms), tuple(weight for _, weight in terms))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(sorted({name for part in self.parts for name in part.names}))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows.

        Returns:
            Shape by tensor name.
        """
        return {name: shape for part in self.parts for name, shape in part.shapes().items()}

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute q(Δ).

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar.
        """
        return total([part.quadratic(delta) * weight for part, weight in zip(self.parts, self.weights, strict=True)])

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ) and its gradient.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.
        """
        charges, gradient = [], dict[str, Tensor]()
        for part, weight in zip(self.parts, self.weights, strict=True):
            charge, blocks = part.half_quadratic_and_gradient(delta)
            charges.append(charge * weight)
            for name, block in blocks.items():
                gradient[name] = gradient[name] + block * weight if name in gradient else block * weight
        return total(charges), gradient

    def scaled(self, factor: float) -> Self:
        """Multiply the charge by a number.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled curvature.
        """
        return replace(self, weights=tuple(weight * factor for weight in self.weights))

    def attached(self, anchors: Mapping[str, Anchor]) -> Self:
        """Attach the parts that live in weight space.

        Args:
            anchors: A₀, B₀ and s by layer.

        Returns:
            The attached sum.

        Raises:
            LaloraError: If a part knows nothing of a layer, or knows it with another shape.
        """
        parts = tuple(part.attached(anchors) if isinstance(part, WeightSpace) else part for part in self.parts)
        return replace(self, parts=parts)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the parts to where the adapter's tensors lie.

        Args:
            devices: Device by tensor name.
            dtype: Type of their tensors.

        Returns:
            The copy.
        """
        return replace(self, parts=tuple(part.to(devices, dtype) for part in self.parts))

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            Tensors by name: the weights, and of each part `number/kind/name`.
        """
        parts = {str(number): flat({part.kind: part.tensors()}) for number, part in enumerate(self.parts)}
        return {"weights": torch.tensor(self.weights, dtype=torch.float64)} | flat(parts)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: Tensors by name.

        Returns:
            The sum.

        Raises:
            LaloraError: If a part is missing, too many, of an unknown kind or no curvature, or a weight is negative.
        """
        numbered = grouped({name: tensor for name, tensor in tensors.items() if name != "weights"})
        order = [str(number) for number in range(len(numbered))]
        require_names(numbered, order)
        require_names(tensors, ("weights",), tensors)
        weights = require_not_negative("weights", tensors["weights"], 1)
        if len(weights) != len(order):
            raise LaloraError(f"{len(weights)} weights do not go with {len(order)} curvatures")
        parts = []
        for number in order:
            kinds = grouped(numbered[number])
            if len(kinds) != 1 or not kinds.keys() <= PARTS.keys():
                raise LaloraError(f"part {number} is of kind '{', '.join(kinds)}', which this lalora does not know")
            ((kind, part),) = kinds.items()
            parts.append(named(f"part {number}", PARTS[kind].from_tensors, part))
        return cls.of(parts, weights.tolist())
