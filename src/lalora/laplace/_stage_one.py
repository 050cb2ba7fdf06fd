"""One fit: go over every source, make a curvature of what was collected, write down how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from lalora import processes
from lalora.curvature import FITTED, Factors, combined
from lalora.engines import gathered
from lalora.errors import LaloraError, warn
from lalora.fisher import STATISTICS, Batch, Dataset, Pass, Sources, Wanted, named_sources
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import require_prior
from lalora.laplace._provenance import Provenance
from lalora.laplace._settings import FitSettings
from lalora.laplace._start import Start


def fit_with(
    settings: FitSettings,
    model: nn.Module,
    sources: Sources | Iterable[Batch],
    *,
    target_modules: str | Sequence[str] | None = None,
    prior: float | str = 0.0,
    progress: bool = True,
) -> Laplace:
    """Fit as `fit` does, with options that are checked already."""
    require_prior(prior)
    kind = FITTED[settings.curvature]
    # Before any forward pass, in which some quantised weights repack themselves.
    start = Start.of_adapter(model, kind) if target_modules is None else Start.of_base(model, kind, target_modules)
    processes.require_same({**vars(settings), "prior": prior, "base model": start.base})
    named = named_sources(sources)
    datasets: list[Dataset] = []
    unreached: dict[str, list[str]] = {}
    # What was read of the start is at its own precision; gathered for a pass, parameters may have that of the pass.
    with gathered(model):
        wanted = Wanted(
            model,
            start.layers,
            str(settings.fisher),
            settings.combine,
            len(named),
            settings.factor_rank,
            settings.factor_keep,
        )
        statistic = STATISTICS[kind.statistic](wanted)
        stage_one = Pass(model, settings.labels, settings.seed, progress)
        for name, batches in named.items():
            collector = statistic.collector()
            datasets.append(stage_one.over(name, batches, collector))
            unreached[name] = start.unreached(statistic.add(collector, datasets[-1]), name)
    if left := statistic.unreached():
        raise LaloraError(
            f"no row of any source reaches '{min(left)}': leave its module out of the adapter, freeze it, or give "
            "rows that reach it"
        )
    base = start.without(unreached)
    collected = statistic.collected()
    _tell_of_rank(settings.factor_rank, collected)
    parts = [kind.of(part, start.anchors) for part in collected]
    curvature = combined(parts, None if settings.combine == "sum" or len(parts) == 1 else 1.0 / len(parts))
    provenance = Provenance.of(model, base, settings, tuple(datasets))
    return Laplace(*start.mean_and_shapes(), curvature, provenance, prior)


def _tell_of_rank(factor_rank: int | None, collected: list[Any]) -> None:
    every = [
        factor
        for part in collected
        if isinstance(part, Factors)
        for factor in [*part.inputs.values(), *part.outputs.values()]
    ]
    short = [factor.rank for factor in every if factor_rank and factor.rank < min(factor_rank, factor.size)]
    if short:
        warn(
            f"factor_rank={factor_rank} is more than the source rows support: {len(short)} of {len(every)} factors "
            f"have {min(short)} to {max(short)} eigenvectors, all of which are kept",
        )
