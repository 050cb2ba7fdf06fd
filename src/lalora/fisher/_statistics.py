"""What stage I collects over the sources of a fit, and hands to a curvature: squared gradients, or factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from lalora.curvature import Factors
from lalora.fisher._dataset import Dataset
from lalora.fisher._diagonal import DiagonalCollector
from lalora.fisher._kronecker import KroneckerCollector
from lalora.fisher._mean_over_sources import Moments
from lalora.fisher._pass import Collector


@dataclass(frozen=True)
class Wanted:
    """What decides what is collected.

    Attributes:
        model: A PEFT LoRA model, or a base model.
        layers: Linear layers by name, adapted or bare.
        estimator: `sequence`, `token` or `batch`.
        combine: `mean`, `sum` or `separate`.
        sources: Number of source datasets.
        factor_rank: Most eigenvectors of a factor to keep; None for all.
        factor_keep: Share of the trace of a factor to keep at least; None for all of it.
    """

    model: nn.Module
    layers: Mapping[str, nn.Module]
    estimator: str
    combine: str
    sources: int
    factor_rank: int | None
    factor_keep: float | None


class Statistic(Protocol):
    """Sums over the sources, one after the other."""

    def collector(self) -> Collector:
        """Make what listens to the model while it goes over one source."""
        ...

    def add(self, collector: Any, dataset: Dataset) -> set[str]:
        """Take what a collector found over a source; tell the names of what was reached."""
        ...

    def unreached(self) -> set[str]:
        """Name the trainable tensors that no source has reached."""
        ...

    def collected(self) -> list[Any]:
        """Return what curvatures are made of, one for each part that stays apart."""
        ...


class Squares:
    """Squared gradients, each source for itself."""

    def __init__(self, make: Callable[[], DiagonalCollector]) -> None:
        """Begin with no source; `make` gives a collector for each."""
        self.collector = make
        self._squares: list[dict[str, Tensor]] = []
        self._unreached: set[str] | None = None

    def add(self, collector: DiagonalCollector, dataset: Dataset) -> set[str]:
        """Take the squares of a source, per token (`batch`: per mini-batch)."""
        self._squares.append(collector.precision(dataset))
        left = collector.unreached()
        self._unreached = left if self._unreached is None else self._unreached & left
        return set(self._squares[-1])

    def unreached(self) -> set[str]:
        """Name the trainable tensors that no source has reached."""
        return self._unreached or set()

    def collected(self) -> list[dict[str, Tensor]]:
        """Return the squares of each source."""
        return self._squares


class SecondMoments:
    """X and G of every layer: with `mean` one sum over all sources (paper, Eq. 36), else each source for itself."""

    def __init__(self, wanted: Wanted) -> None:
        """Begin with no source."""
        self._wanted = wanted
        self._moments: list[Moments] = []

    @property
    def _rank(self) -> int | None:
        # A share of the trace is known only of all of it.
        return self._wanted.factor_rank if self._wanted.factor_keep is None else None

    def collector(self) -> KroneckerCollector:
        """Make a collector for one source."""
        return KroneckerCollector(self._wanted.layers, self._wanted.estimator, self._rank)

    def add(self, collector: KroneckerCollector, dataset: Dataset) -> set[str]:
        """Take the sums of a source."""
        mean = self._wanted.combine == "mean"
        if not (mean and self._moments):
            self._moments.append(Moments(self._rank))
        collector.add_to(self._moments[-1], dataset, 1 / self._wanted.sources if mean else 1.0)
        return set(self._moments[-1].g)

    def unreached(self) -> set[str]:
        """Name nothing: layers are looked at source by source."""
        return set()

    def collected(self) -> list[Factors]:
        """Decompose the sums."""
        return [moments.factors(self._wanted.factor_rank, self._wanted.factor_keep) for moments in self._moments]


STATISTICS: Mapping[str, Callable[[Wanted], Statistic]] = {
    "adapter squares": lambda wanted: Squares(lambda: DiagonalCollector.of_adapter(wanted.model, wanted.estimator)),
    "weight squares": lambda wanted: Squares(lambda: DiagonalCollector.of_weights(wanted.layers, wanted.estimator)),
    "factors": SecondMoments,
}
"""By the name that a curvature gives what it is made of (`Fitted.statistic`)."""
