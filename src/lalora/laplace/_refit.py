"""Online Laplace: fit again where the adapter is now, and average that in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from lalora.errors import LaloraError
from lalora.fisher import Batch, Sources, named_sources
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import is_number
from lalora.laplace._stage_one import fit_with


def require_decay(decay: float) -> None:
    """Refuse a weight of what was known that is no share, or leaves nothing for what is new.

    Raises:
        LaloraError: If it is below 0, or 1 and above.
    """
    if not (is_number(decay) and 0 <= decay < 1):
        raise LaloraError(f"refit_decay must be at least 0 and below 1, not {decay!r}")


def refit(
    laplace: Laplace,
    model: nn.Module,
    sources: Sources | Iterable[Batch],
    *,
    decay: float = 0.9,
    seed: int = 0,
    progress: bool = True,
) -> Laplace:
    """Refresh Λ as a running mean while the mean μ stays at the start, since moving it would forgive the drift so far.

    Args:
        laplace: What was known, of this adapter.
        model: The PEFT model in the middle of training.
        sources: Source text, as in `lalora.fit`.
        decay: Weight of what was known: Λ ← decay·Λ + (1 − decay)·Λ at the adapter as it is now.
        seed: Seed of the sampled labels; another one each time.
        progress: Whether to show a progress bar.

    Returns:
        The refreshed Laplace.

    Raises:
        LaloraError: If the decay is out of range, the Laplace is of another model or of several tasks, or a source is
            unusable.
    """
    require_decay(decay)
    known = laplace.of_adapter(model)
    known.check(model)
    how = known.provenance
    if how.tasks > 1:
        raise LaloraError("a Laplace of several tasks cannot be fitted again: one pass does not see them all")
    named = named_sources(sources)
    if how.fit.combine != "mean" and list(named) != [dataset.name for dataset in how.datasets]:
        raise LaloraError(
            f"combine='{how.fit.combine}' goes by each dataset: give {[data.name for data in how.datasets]} again, in "
            "this order"
        )
    fresh = fit_with(replace(how.fit, seed=seed), model, named, progress=progress)
    curvature = known.curvature.running_mean(fresh.curvature, decay, how.fit.factor_rank, how.fit.factor_keep)
    provenance = replace(how, created=fresh.provenance.created, datasets=fresh.provenance.datasets)
    return Laplace(known.mean, known.shapes, curvature, provenance, known.prior)
