"""Diagonal curvature: one precision for each adapter weight (paper, Eq. 4 to 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature._believed import require_not_negative
from lalora.curvature._flat import total


@dataclass(frozen=True)
class Diagonal:
    """ΔᵀΛΔ = Σ D∘Δ², with a tensor of precisions D for each adapter tensor that has any (Eq. 6).

    Attributes:
        precision: D ≥ 0 by tensor name, each of the shape of its tensor. Tensors whose precision is zero everywhere
            are left out; names are sorted.
    """

    kind: ClassVar[str] = "diagonal"
    estimators: ClassVar[tuple[str, ...]] = ("sequence", "token", "batch")
    precision: Mapping[str, Tensor]

    @classmethod
    def of(cls, precision: Mapping[str, Tensor]) -> Self:
        """Build a diagonal, leaving out the tensors whose precision is zero everywhere.

        Args:
            precision: D ≥ 0 by tensor name.

        Returns:
            The curvature.
        """
        return cls({name: precision[name] for name in sorted(precision) if bool(precision[name].any())})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        return tuple(self.precision)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows.

        Returns:
            Shape by tensor name.
        """
        return {name: tuple(block.shape) for name, block in self.precision.items()}

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute ΔᵀΛΔ.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar.
        """
        return 2 * self.half_quadratic_and_gradient(delta)[0]

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½ΔᵀΛΔ and its gradient ΛΔ.

        Args:
            delta: Displacement by tensor name.

        Returns:
            A scalar; the gradient, a tensor for each of `names`.
        """
        product = self.apply(delta)
        charges = [torch.dot(delta[name].reshape(-1), block.reshape(-1)) for name, block in product.items()]
        return total(charges) / 2, product

    def apply(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute ΛΔ = D∘Δ in one multi-tensor operation.

        Args:
            delta: Displacement by tensor name.

        Returns:
            The product, a tensor for each of `names`.
        """
        if not self.precision:
            return {}
        product = torch._foreach_mul([delta[name] for name in self.precision], list(self.precision.values()))
        return dict(zip(self.precision, product, strict=True))

    def trace(self) -> tuple[float, int]:
        """Compute tr Λ.

        Returns:
            Σ D, and the number of precisions.
        """
        blocks = self.precision.values()
        return sum(float(block.sum()) for block in blocks), sum(block.numel() for block in blocks)

    def scaled(self, factor: float) -> Self:
        """Compute factor·Λ.

        Args:
            factor: A number ≥ 0.

        Returns:
            The scaled curvature.
        """
        return type(self).of({name: block * factor for name, block in self.precision.items()})

    @classmethod
    def combined(cls, parts: Sequence[Self]) -> Self:
        """Add curvatures.

        Args:
            parts: Curvatures of the same adapter; one may name tensors that another leaves out.

        Returns:
            Their sum.
        """
        total: dict[str, Tensor] = {}
        for part in parts:
            for name, block in part.precision.items():
                total[name] = total[name] + block if name in total else block
        return cls.of(total)

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy the precisions to where the adapter's tensors lie.

        Args:
            devices: Device by tensor name.
            dtype: Their type.

        Returns:
            The copy.
        """
        return type(self)({name: block.to(devices[name], dtype) for name, block in self.precision.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold.

        Returns:
            D by tensor name.
        """
        return dict(self.precision)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned.

        Args:
            tensors: D by tensor name.

        Returns:
            The curvature.

        Raises:
            LaloraError: If a tensor is no precision.
        """
        return cls({name: require_not_negative(name, tensors[name]) for name in sorted(tensors)})
