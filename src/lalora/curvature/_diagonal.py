"""Diagonal curvature: one precision for each adapter weight (paper, Eq. 4 to 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._anchor import Anchor
from lalora.curvature._checks import require_not_negative
from lalora.curvature._fitted import SQUARES_SHOW, Fitted, StatisticName
from lalora.curvature._flat import total
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Diagonal(Fitted):
    """ΔᵀΛΔ = Σ D∘Δ², with a tensor of precisions D for each adapter tensor that has any (Eq. 6).

    Attributes:
        precision: D ≥ 0 by tensor name, of the shape of its tensor or one number for all of it. Tensors whose precision
            is zero everywhere are left out; names are sorted.
    """

    kind: ClassVar[str] = "diagonal"
    strength: ClassVar[float] = 1000.0
    statistic: ClassVar[StatisticName] = "adapter squares"
    estimators: ClassVar[tuple[str, ...]] = ("sequence", "token", "batch")
    privacy: ClassVar[str] = SQUARES_SHOW
    precision: Mapping[str, Tensor]

    @classmethod
    def of(cls, collected: Mapping[str, Tensor], anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Build a diagonal without the tensors where D is zero; where the adapter starts does not matter."""
        return cls({name: collected[name] for name in sorted(collected) if bool(collected[name].any())})

    @classmethod
    def isotropic(cls, precision: float, names: Iterable[str]) -> Self:
        """Build δI over the adapter tensors that are named."""
        return cls({name: torch.tensor(precision, dtype=torch.float64) for name in sorted(names)})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(self.precision)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows."""
        return {name: tuple(block.shape) for name, block in self.precision.items() if block.dim()}

    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½ΔᵀΛΔ and its gradient ΛΔ = D∘Δ, in three multi-tensor operations."""
        if not self.precision:
            return total([]), {}
        moved = [delta[name] for name in self.precision]
        blocks = torch._foreach_mul(moved, list(self.precision.values()))
        # No term is negative, so that the sum of a tensor is its 1-norm, of which there is one operation for many.
        values = torch._foreach_norm(torch._foreach_mul(moved, blocks), 1)
        return total(values) / 2, dict(zip(self.precision, blocks, strict=True))

    def trace(self) -> tuple[float, int]:
        """Compute Σ D, and the number of precisions."""
        blocks = self.precision.values()
        return sum(float(block.sum()) for block in blocks), sum(block.numel() for block in blocks)

    def prior(self, precision: float, names: Iterable[str]) -> Diagonal:
        """Make δI over the adapter."""
        return Diagonal.isotropic(precision, names)

    def scaled(self, factor: float) -> Self:
        """Multiply D by a number ≥ 0."""
        return type(self).of({name: block * factor for name, block in self.precision.items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> list[Self]:
        """Add precisions; one part may name tensors that another leaves out."""
        total: dict[str, Tensor] = {}
        for part in parts:
            for name, block in part.precision.items():
                total[name] = total[name] + block if name in total else block
        return [cls.of(total)]

    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average precisions."""
        return self.joined([self.scaled(decay), fresh.scaled(1 - decay)])[0]

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the precisions to where the adapter's tensors lie."""
        return type(self)({name: block.to(devices[name], dtype) for name, block in self.precision.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return D by tensor name."""
        return dict(self.precision)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned; what is no precision is refused."""
        for name, tensor in tensors.items():
            if not tensor.dim():
                raise LaloraError(f"tensor '{name}' is one number, not a precision for each weight")
        return cls({name: require_not_negative(name, tensors[name]) for name in sorted(tensors)})
