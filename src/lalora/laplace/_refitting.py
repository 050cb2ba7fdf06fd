"""When the curvature is fitted again in the middle of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from typing_extensions import Self

from lalora.errors import LaloraError
from lalora.fisher import Batch, Sources, named_sources
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import require_integer
from lalora.laplace._refit import refit, require_decay


@dataclass(frozen=True)
class Refitting:
    """The plan to fit again.

    Attributes:
        every: Optimizer steps in between; None for never.
        sources: Source batches by dataset.
        decay: Weight of what was known.
    """

    every: int | None
    sources: Mapping[str, Sequence[Batch]]
    decay: float

    @classmethod
    def of(cls, every: int | None, sources: Sources | Iterable[Batch], decay: float) -> Self:
        """Check the plan, and keep the source batches for as often as they are needed."""
        require_decay(decay)
        if every is None:
            return cls(None, {}, decay)
        require_integer("refit_every", every, 1)
        kept = {name: list(batches) for name, batches in named_sources(sources).items()}
        require_sources(kept)
        return cls(every, kept, decay)

    def due(self, laplace: Laplace, model: nn.Module, step: int) -> Laplace:
        """Fit again if it is time."""
        if self.every is None or step == 0 or step % self.every:
            return laplace
        seed = laplace.provenance.fit.seed + step
        return refit(laplace, model, self.sources, decay=self.decay, seed=seed, progress=False)


def require_sources(sources: Mapping[str, Sequence[Batch]]) -> None:
    """Refuse to fit again without source text."""
    if not any(sources.values()):
        raise LaloraError("refit_every needs source text: give the batches that lalora.fit was given")
