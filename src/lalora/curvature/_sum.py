"""The weighted sum of any curvatures: several datasets kept apart, or a curvature and a prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._added import Added
from lalora.curvature._anchor import Anchor
from lalora.curvature._catalogue import PARTS
from lalora.curvature._checks import named, require_names, require_not_negative
from lalora.curvature._flat import flat, grouped
from lalora.curvature._interface import Curvature, Quadratic
from lalora.curvature._weight_space import WeightSpace
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Sum(Added, Curvature):
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
        """Add curvatures of one adapter, with weight one by default; a sum among them is taken apart."""
        terms: list[tuple[Curvature, float]] = []
        for part, weight in zip(parts, [1.0] * len(parts) if weights is None else weights, strict=True):
            if isinstance(part, Sum):
                terms += [(inner, weight * share) for inner, share in zip(part.parts, part.weights, strict=True)]
            else:
                terms.append((part, weight))
        return cls(tuple(part for part, _ in terms), tuple(weight for _, weight in terms))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows."""
        return {name: shape for part in self.parts for name, shape in part.shapes().items()}

    def mean_eigenvalue(self) -> float:
        """Compute Σ weight·mean eigenvalue, each part over its own size."""
        return sum(weight * part.mean_eigenvalue() for part, weight in zip(self.parts, self.weights, strict=True))

    def prior(self, precision: float, names: Iterable[str]) -> Curvature:
        """Make δI in the space of the first part."""
        return self.parts[0].prior(precision, names)

    def scaled(self, factor: float) -> Self:
        """Multiply the weights by a number ≥ 0."""
        return replace(self, weights=tuple(weight * factor for weight in self.weights))

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average part by part, with the weights of `fresh`."""
        pairs = zip(self.parts, fresh.parts, strict=True)
        return self.of([old.running_mean(new, decay, factor_rank, factor_keep) for old, new in pairs], fresh.weights)

    def rebased(self, mean: Mapping[str, Tensor]) -> Self:
        """Measure displacement from another mean, part by part."""
        return replace(self, parts=tuple(part.rebased(mean) for part in self.parts))

    def anchored(self, anchors: Mapping[str, Anchor]) -> Self:
        """Put the parts that live in weight space beside the layers of an adapter."""
        parts = tuple(part.anchored(anchors) if isinstance(part, WeightSpace) else part for part in self.parts)
        return replace(self, parts=parts)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the parts to where the adapter's tensors lie."""
        return replace(self, parts=tuple(part.to(devices, dtype) for part in self.parts))

    def used_at(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        """Add the forms of the parts that training uses."""
        return Added(tuple(part.used_at(devices, dtype) for part in self.parts), self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, and of each part `number/kind/name`."""
        parts = {str(number): flat({part.kind: part.tensors()}) for number, part in enumerate(self.parts)}
        return {"weights": torch.tensor(self.weights, dtype=torch.float64)} | flat(parts)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned; what makes no sum of known curvatures is refused."""
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


def combined(parts: Sequence[Curvature], weight: float | None = None) -> Curvature:
    """Add curvatures of one adapter, each times `weight`: in one where their kind adds up exactly, else as a `Sum`."""
    alike = len({type(part) for part in parts}) == 1
    few = type(parts[0]).joined(parts) if alike else parts
    if len(few) > 1:
        return Sum.of(few, None if weight is None else [weight] * len(few))
    # Without a weight nothing is copied: a diagonal of merged weights is as large as the model.
    return few[0] if weight is None else few[0].scaled(weight)
