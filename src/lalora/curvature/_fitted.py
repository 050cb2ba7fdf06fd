"""Curvatures that `lalora.fit` can be asked for: what they are made of, and what a file of them gives away."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from typing_extensions import Self

from lalora.curvature._anchor import Anchor
from lalora.curvature._interface import Curvature

StatisticName = Literal["adapter squares", "weight squares", "factors"]

SQUARES_SHOW = (
    "The files hold squared gradients summed over the source rows, not text; with few rows they can still tell of them."
)
MOMENTS_SHOW = (
    "The files hold second moments of the activations and gradients of the source rows. With few rows, the set of "
    "words that occur in them can be recovered from those of the first layer, though not their order."
)


class Fitted(Curvature):
    """A curvature that is made of what stage I collects."""

    statistic: ClassVar[StatisticName]
    """What stage I collects for it: squared gradients of adapter or merged weights by name, or `Factors`."""
    estimators: ClassVar[tuple[str, ...]]
    """The estimators that it can be made with, the usual one first."""
    strength: ClassVar[float]
    """λ where none is given: of those that were measured, the largest that gives up 2 % of the learning or less."""
    privacy: ClassVar[str]
    """What a file with it tells of the source rows, for a model card."""

    @classmethod
    @abstractmethod
    def of(cls, collected: Any, anchors: Mapping[str, Anchor] | None = None) -> Self:
        """Make it of the statistic and of where the layers start; without anchors for an adapter that comes later."""

    @abstractmethod
    def trace(self) -> tuple[float, int]:
        """Compute tr Λ and the size of Λ, over the adapter's weights that have a penalty or over the entries of ΔW."""

    def mean_eigenvalue(self) -> float:
        """Compute tr Λ over the size of Λ; 0 where there is no penalty."""
        trace, size = self.trace()
        return trace / size if size else 0.0
