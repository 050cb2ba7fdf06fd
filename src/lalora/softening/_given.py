"""What a front is made from: text that is fitted and text that is not, strengths, a Laplace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from lalora.batches import Batch
from lalora.curvature import Curvature, Factors, averaged, weight_kfacs
from lalora.errors import LaloraError
from lalora.fisher import Sources, named_sources
from lalora.laplace import Laplace, require_non_negative
from lalora.scoring import ready_batches
from lalora.softening._measured import hashes


@dataclass(frozen=True)
class Text:
    """Checked batches.

    Attributes:
        target: By name, to be fitted around the trained model.
        source: By name, to be fitted around the base; none where a Laplace is there.
        held_out: Target rows that are not fitted.
    """

    target: dict[str, list[Batch]]
    source: dict[str, list[Batch]]
    held_out: list[Batch]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        target: Sources | Iterable[Batch],
        source: Sources | Iterable[Batch] | None,
        held_out: Iterable[Batch] | None,
    ) -> Text:
        """Check all batches."""
        named = target if isinstance(target, Mapping) else {"target": target}
        found = cls(
            {name: list(ready_batches(model, batches)) for name, batches in named_sources(named).items()},
            {}
            if source is None
            else {name: list(ready_batches(model, batches)) for name, batches in named_sources(source).items()},
            [] if held_out is None else list(ready_batches(model, held_out)),
        )
        if hashes(found.held_out) & set().union(*map(hashes, found.target.values())):
            raise LaloraError("held-out rows are among those of the target: give rows that were not trained on")
        return found

    def fitted(self, laplace: Laplace) -> set[str]:
        """Hash what was fitted."""
        known = {dataset.sha256 for dataset in laplace.provenance.datasets}
        return known.union(*map(hashes, [*self.target.values(), *self.source.values()]))


def require(strengths: Sequence[float], laplace: Laplace | None, source: object) -> None:
    """Refuse strengths and curvatures that cannot be."""
    for strength in strengths:
        require_non_negative("strength", strength)
    if (laplace is None) == (source is None):
        raise LaloraError("give a Laplace of the base model, or source= to fit one: one of the two")
    if laplace is not None:
        weight_kfacs(laplace.curvature)


def factors_of(curvature: Curvature) -> Factors:
    """Look up X and G; of several tasks that were added up, their weighted means."""
    return averaged(curvature).factors
