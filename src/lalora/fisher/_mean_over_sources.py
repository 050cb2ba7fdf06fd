"""X and G of every layer, averaged over datasets and decomposed once at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

from lalora.curvature import Factors
from lalora.errors import LaloraError
from lalora.fisher._second_moment import SecondMoment
from lalora.fisher._underflow import tell_of_underflow


class Moments:
    """A weighted sum of the second moments of several datasets, factor by factor (paper, Eq. 36).

    Attributes:
        x: The sum of X by key.
        g: The sum of G by layer.
    """

    def __init__(self, rank: int | None = None) -> None:
        """Start with no dataset; `rank` is the most eigenvectors that will be asked for."""
        self.x: defaultdict[str, SecondMoment] = defaultdict(partial(SecondMoment, rank))
        self.g: defaultdict[str, SecondMoment] = defaultdict(partial(SecondMoment, rank))
        self._keys: Mapping[str, str] = {}

    def require_keys(self, keys: Mapping[str, str]) -> None:
        """Refuse datasets that reach different layers, or reach them through different inputs."""
        if self._keys and self._keys != keys:
            raise LaloraError(
                "the source datasets reach different layers, so that their Kronecker factors have no mean: "
                "use combine='separate'"
            )
        self._keys = dict(keys)

    def factors(self, rank: int | None, keep: float | None) -> Factors:
        """Decompose the sums."""
        vanished = [layer for layer, gram in self.g.items() if gram.vanished]
        if vanished:
            tell_of_underflow(vanished)
        return Factors.of(
            {key: gram.factor(rank, keep).cpu() for key, gram in self.x.items()},
            {layer: gram.factor(rank, keep).cpu() for layer, gram in self.g.items()},
            self._keys,
        )
