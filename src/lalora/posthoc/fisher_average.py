"""Fisher-weighted averaging (Matena and Raffel, 2022, arXiv 2111.09832) of the trained weights and the base's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from jaxtyping import Float
from torch import Tensor

from lalora.errors import LaloraError
from lalora.laplace import Dataset
from lalora.posthoc.base import Rival
from lalora.posthoc.held import with_changes

FLOOR = 1e-6
"""Of the target's Fisher, so that weights which neither side knows stay as they were trained."""


class FisherAverage(Rival):
    """Averages each weight by its Fisher information, with the base as a task: ΔW = ΔW₁ ∘ F_t / (F_t + λF_s).

    As in the authors' code (github.com/mmatena/model_merging, commit 46802f9) each F is the mean over rows of the
    squared gradient of a row's log-likelihood, with labels drawn from the model; the target's is at least 1e-6, and
    both are divided by their norm over all weights.
    """

    name = "fisher-average"
    label = "Fisher averaging"
    citation = "Matena and Raffel, 2022"
    needs = "text of both; a gradient of both; memory of the adapted weights three times; its result has full rank"
    knob = "λ"
    meaning = "the weight of the base"
    grid = (0.03, 0.1, 0.3, 1.0, 3.0)
    fits = ("target weight-diagonal", "source weight-diagonal")
    passes = "forward and backward"
    full_rank = True

    def at(self, knob: float) -> AbstractContextManager[None]:
        """Average."""
        target, source = self.trained.diagonal("target").fisher, self.trained.diagonal("source").fisher
        by_row = tokens_by_row(self.trained.fit("target weight-diagonal").provenance.datasets)
        apart = norm(target) * by_row, norm(source)
        return with_changes(
            self.trained.model,
            {
                name: averaged(change, target[name].float() * by_row, source[name].float(), knob, apart)
                for name, change in self.trained.changes.items()
            },
        )


def averaged(
    change: Float[Tensor, "d_out d_in"],
    target: Float[Tensor, "d_out d_in"],
    source: Float[Tensor, "d_out d_in"],
    strength: float,
    norms: tuple[float, float],
) -> Float[Tensor, "d_out d_in"]:
    """Compute ΔW₁ ∘ F_t / (F_t + λF_s) with the target's floor and both F over their norms."""
    kept = target.clamp_min(FLOOR) / norms[0]
    return change * (kept / (kept + source * (strength / norms[1])))


def norm(fisher: Mapping[str, Tensor]) -> float:
    """Compute ‖F‖₂ over all weights."""
    found = math.sqrt(sum(float(block.double().square().sum()) for block in fisher.values()))
    if found == 0:
        raise LaloraError("the Fisher information is zero everywhere: give rows that the model does not know by heart")
    return found


def tokens_by_row(datasets: Sequence[Dataset]) -> float:
    """Compute what a mean over tokens is multiplied by to be one over rows."""
    return sum(one.tokens for one in datasets) / sum(one.rows for one in datasets)
