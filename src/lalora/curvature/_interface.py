"""What every curvature can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from typing_extensions import Self


class Curvature(Protocol):
    """A positive semi-definite operator Λ on the displacement Δ of the adapter, tensor by tensor.

    Every mapping goes from the name of an adapter tensor to a tensor of its shape. A tensor of the adapter that a
    curvature does not name has no curvature: its block of Λ is zero.
    """

    kind: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapter tensors with curvature, in a fixed order."""
        ...

    def quadratic(self, delta: Mapping[str, Tensor]) -> Tensor:
        """Return ΔᵀΛΔ as a scalar."""
        ...

    def apply(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ΛΔ, a tensor for each of `names`."""
        ...

    def scaled(self, factor: float) -> Self:
        """Return factor·Λ."""
        ...

    @classmethod
    def combined(cls, parts: Sequence[Self]) -> Self:
        """Return the sum of several curvatures."""
        ...

    def to(self, devices: Mapping[str, torch.device], dtype: torch.dtype) -> Self:
        """Return a copy whose tensors lie where the adapter's tensors lie."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a file must hold."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` returned."""
        ...
