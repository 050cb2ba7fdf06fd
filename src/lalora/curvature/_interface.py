"""What every curvature can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from typing_extensions import Self


class Curvature(Protocol):
    """A charge ½q(Δ) ≥ 0 for the displacement Δ of the adapter, zero at Δ = 0.

    In adapter space q(Δ) = ΔᵀΛΔ is quadratic in Δ (`LinearCurvature`); in weight space it is quadratic in what Δ does
    to the weights, and so not in Δ. Every mapping goes from the name of an adapter tensor to a tensor of its shape. A
    tensor of the adapter that a curvature does not name is free: its block of Λ is zero.
    """

    kind: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of the adapter that the curvature knows."""
        ...

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Return q(Δ) as a scalar."""
        ...

    def half_quadratic_and_gradient(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return ½q(Δ) and its gradient with respect to Δ, a tensor for each of `names`."""
        ...

    def scaled(self, factor: float) -> Self:
        """Return the curvature that charges factor·q(Δ)."""
        ...

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Return a copy whose tensors lie where the adapter's tensors lie."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned, believing nothing: tensors that make no curvature are refused."""
        ...


class LinearCurvature(Curvature, Protocol):
    """A curvature whose charge is ½ΔᵀΛΔ for a positive semi-definite operator Λ."""

    def apply(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ΛΔ, a tensor for each of `names`."""
        ...


class Fitted(Curvature, Protocol):
    """A curvature that stage I can be asked for by its kind."""

    estimators: ClassVar[tuple[str, ...]]
    """The estimators that it can be made with, the usual one first."""
