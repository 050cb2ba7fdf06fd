"""What every curvature can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self


class Quadratic(ABC):
    """What a displacement Δ of the adapter costs, and no more than that: the form of a curvature that training uses."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""

    @abstractmethod
    def value_and_grad(self, delta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute ½q(Δ), a scalar, and its gradient with respect to Δ, a tensor for each of `names`."""

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Compute q(Δ), a scalar."""
        return 2 * self.value_and_grad(delta)[0]


class Curvature(Quadratic):
    """A penalty ½q(Δ) ≥ 0 for the displacement Δ of the adapter, zero at Δ = 0.

    In adapter space q(Δ) = ΔᵀΛΔ is quadratic in Δ; in weight space it is quadratic in what Δ does to the weights, and
    so not in Δ. Every mapping goes from the name of an adapter tensor to a tensor of its shape. A tensor of the adapter
    that a curvature does not name is free: its block of Λ is zero.
    """

    kind: ClassVar[str]

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Look up the shape of every tensor of the adapter that the curvature knows."""

    @abstractmethod
    def mean_eigenvalue(self) -> float:
        """Compute tr Λ over the size of Λ, which is what `prior="auto"` stands for.

        A few batches excite few directions; with this precision a direction of which they say nothing is as stiff as
        the average one is known to be.
        """

    @abstractmethod
    def prior(self, precision: float, names: Iterable[str]) -> Curvature:
        """Make δI in the space of this curvature: δ‖Δ‖² over all tensors of the adapter, or δ‖ΔW‖²_F."""

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """Multiply Λ by a number ≥ 0."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> list[Self]:
        """Add up what adds up exactly within this kind; by default nothing does."""
        return list(parts)

    @abstractmethod
    def running_mean(self, fresh: Self, decay: float, factor_rank: int | None, factor_keep: float | None) -> Self:
        """Average in what was fitted where the adapter is now: decay·Λ + (1 − decay)·fresh; factors one by one."""

    def rebased(self, mean: Mapping[str, Tensor]) -> Self:
        """Measure displacement from another mean μ, where it matters: in adapter space Δ comes from outside."""
        return self

    @abstractmethod
    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Copy to where the adapter's tensors lie, by their names; layers of which none is named are left out."""

    def used_at(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Quadratic:
        """Make the form that training uses, where the adapter's tensors lie; what `to` would copy need not be there."""
        return self.to(devices, dtype)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned, believing nothing: tensors that make no curvature are refused."""
