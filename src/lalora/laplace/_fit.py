"""Stage I: measure how much each adapter weight matters for what the model knows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from lalora import processes
from lalora.adapter import has_adapter, lora_layers, peft_model
from lalora.curvature import Curvature, Diagonal, Factors, Kfac, Sum, TriKfac, WeightDiagonal, WeightKfac
from lalora.errors import LaloraError, first_of
from lalora.fisher import (
    ESTIMATORS,
    Batch,
    DiagonalCollector,
    KroneckerCollector,
    Moments,
    Pass,
    Sources,
    named_sources,
)
from lalora.laplace._anchors import anchors_of, target_layers
from lalora.laplace._fingerprint import fingerprint
from lalora.laplace._laplace import Laplace, mean_and_shapes
from lalora.laplace._limits import require_integer, require_prior, require_share
from lalora.laplace._provenance import Dataset, adapted_layers, describe

_KRONECKER: dict[str, type[Kfac] | type[TriKfac] | type[WeightKfac]] = {
    kind.kind: kind for kind in (Kfac, TriKfac, WeightKfac)
}


def fit(
    model: nn.Module,
    sources: Sources | Iterable[Batch],
    *,
    curvature: str = "diagonal",
    target_modules: str | Sequence[str] | None = None,
    fisher: str | None = None,
    labels: str = "sampled",
    combine: str = "mean",
    rank: int | None = None,
    keep: float | None = None,
    prior: float | str = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> Laplace:
    """Fit a Laplace approximation over the trainable tensors of a PEFT LoRA model.

    The model leaves as it came: modes, gradients, hooks, random state, weights.

    Args:
        model: A PEFT LoRA model at its start, the point that fine-tuning is held to; or, with `target_modules`, a base
            model without an adapter.
        sources: Source text: a mapping of dataset names to iterables of batches, or one such iterable. A batch is a
            dict of `input_ids`, unshifted `labels` (-100 where a token is no completion) and `attention_mask`, each
            (rows, length), one sequence a row.
        curvature: `diagonal` (Eq. 6), `kfac` (Eq. 8), `tri-kfac` (Eq. 10), or one that charges for the true change of
            the merged weight and so stays right when A moves: `weight-kfac`, `weight-diagonal` (EWC-LoRA).
        target_modules: For a base model without an adapter: the layers to know about, as in `peft.LoraConfig`, such as
            `all-linear`. Needs a weight-space curvature; the result serves adapters of every rank, scale and start on
            any of these layers.
        fisher: `sequence` (each sequence by itself; default for diagonals), `token` (each input position; default
            for Kronecker factors) or `batch` (each mini-batch's mean, the paper's Eq. 5; diagonals only).
        labels: `sampled` (drawn from the model: the true Fisher) or `data` (the empirical Fisher of the paper).
        combine: Over datasets `mean` (of Kronecker factors: Eq. 36), `sum` (the paper's diagonal), or `separate` (a
            curvature for each, their charges averaged).
        rank: Most eigenvectors of a Kronecker factor to keep; None for all that the data support. A diagonal has none.
        keep: Share of the trace of each Kronecker factor to keep at least, such as 0.99; None for all of it.
        prior: Precision δ ≥ 0 that is charged for besides Λ, for the directions of which a few batches say nothing:
            δ‖Δ‖², or δ‖ΔW‖²_F in weight space. `auto` is the mean eigenvalue of Λ: an unknown direction is as stiff as
            the average one. The strength multiplies it too; the forecast leaves it out.
        seed: Seed of the sampled labels, which also depend on dataset, row and process, never on batch size.
        progress: Whether to show a progress bar.

    Returns:
        Mean, curvature and provenance.

    Raises:
        LaloraError: If an argument has an unknown value, the model has no LoRA adapter or one that the curvature
            cannot serve, a dataset is empty or malformed, or a loss or gradient is not finite.
    """
    fisher = fisher or ("token" if curvature in _KRONECKER else "sequence")
    for name, value, known in (
        ("curvature", curvature, (Diagonal.kind, *_KRONECKER, WeightDiagonal.kind)),
        ("fisher", fisher, tuple(ESTIMATORS)),
        ("labels", labels, ("sampled", "data")),
        ("combine", combine, ("mean", "sum", "separate")),
    ):
        if value not in known:
            raise LaloraError(f"{name}='{value}' is unknown: choose {' or '.join(known)}")
    if curvature in _KRONECKER and fisher == "batch":
        raise LaloraError(f"fisher='batch' does not factor: use 'token' or 'sequence' with curvature='{curvature}'")
    if rank is not None:
        require_integer("rank", rank, 1)
    if keep is not None:
        words = "a share of the trace, above 0 and at most 1"
        require_share("keep", keep, words, with_zero=False, with_one=True)
    require_prior(prior)
    require_integer("seed", seed, 0, 2**64 - 1)
    if target_modules is None:
        if curvature in (WeightKfac.kind, WeightDiagonal.kind) and not has_adapter(model):
            raise LaloraError(
                f"{type(model).__name__} has no LoRA adapter: wrap it with peft.get_peft_model, or give target_modules "
                "for a Laplace of the base model"
            )
        bare = peft_model(model)
        if any(layer.merged for layer in lora_layers(bare).values()):
            raise LaloraError("the adapter is merged into the base weights: call unmerge_adapter() before fitting")
        layers = adapted_layers(bare)
        anchors = {} if curvature == Diagonal.kind else anchors_of(bare, curvature)
    else:
        if has_adapter(model):
            raise LaloraError("target_modules is for a base model without an adapter: leave it out, this one has one")
        if curvature not in (WeightKfac.kind, WeightDiagonal.kind):
            raise LaloraError(
                f"curvature='{curvature}' needs an adapter: wrap the model with peft.get_peft_model, or choose "
                f"'{WeightKfac.kind}' or '{WeightDiagonal.kind}' for a Laplace of the base model"
            )
        layers = target_layers(model, target_modules, curvature)
        anchors = None
    if anchors:
        layers = {name: layers[name] for name in anchors}
    # Before any forward pass, in which some quantised weights repack themselves.
    base = fingerprint(model, layers)
    processes.require_same(
        {
            "curvature": curvature,
            "fisher": fisher,
            "labels": labels,
            "combine": combine,
            "rank": rank,
            "keep": keep,
            "prior": prior,
            "seed": seed,
            "base model": base,
        }
    )
    stage_one = Pass(model, labels, seed, progress)
    squared: list[dict[str, Tensor]] = []
    moments: list[Moments] = []
    datasets: list[Dataset] = []
    named = named_sources(sources)
    untouched: set[str] | None = None
    left: dict[str, list[str]] = {}
    for dataset, batches in named.items():
        if curvature in _KRONECKER:
            gathered = KroneckerCollector(layers, fisher)
            counts = stage_one.over(dataset, batches, gathered)
            if combine != "mean" or not moments:
                moments.append(Moments())
            gathered.add_to(moments[-1], counts, 1 / len(named) if combine == "mean" else 1.0)
            reached = set(moments[-1].g)
        else:
            in_adapter = curvature == Diagonal.kind
            squares = (
                DiagonalCollector.of_adapter(model, fisher)
                if in_adapter
                else DiagonalCollector.of_weights(layers, fisher)
            )
            counts = stage_one.over(dataset, batches, squares)
            squared.append(squares.precision(counts))
            reached = set(squared[-1])
            untouched = squares.unreached() if untouched is None else untouched & squares.unreached()
        unreached = sorted((set(layers) if anchors is None else set(anchors)) - reached)
        left[dataset] = unreached
        # A fit of the base model serves the layers that it can, such as the experts that were chosen.
        if unreached and (anchors is not None or len(unreached) == len(layers)):
            raise LaloraError(
                f"no row of source '{dataset}' reaches module '{unreached[0]}': leave it out of the adapter"
            )
        datasets.append(Dataset(dataset, counts.rows, counts.tokens, counts.batches, counts.sha256))
    if untouched:
        raise LaloraError(
            f"no row of any source reaches '{min(untouched)}': leave its module out of the adapter, freeze it, or give "
            "rows that reach it"
        )
    if any(left.values()):
        base["layers"] = _without_unreached(base["layers"], left)
    factors = [moment.factors(rank, keep) for moment in moments]
    if rank is not None and factors:
        _tell_of_rank(rank, factors)
    parts: list[Curvature] = [
        WeightKfac.of(part) if anchors is None else _KRONECKER[curvature].of(part, anchors) for part in factors
    ]
    parts += [Diagonal.of(part) if curvature == Diagonal.kind else WeightDiagonal.of(part, anchors) for part in squared]
    total = _summed(parts, 1.0 if combine == "sum" else 1.0 / len(parts))
    provenance = describe(
        model,
        base,
        tuple(datasets),
        curvature=curvature,
        fisher=fisher,
        labels=labels,
        combine=combine,
        seed=seed,
        factor_rank=rank,
        factor_keep=keep,
    )
    if anchors is None:
        return Laplace({}, {}, total, provenance, prior)
    return Laplace(*mean_and_shapes(model), total, provenance, prior)


def _without_unreached(known: dict[str, list[float]], left: dict[str, list[str]]) -> dict[str, list[float]]:
    first, *others = left
    for other in others:
        for here, there in ((first, other), (other, first)):
            if only := sorted(set(left[here]) - set(left[there])):
                raise LaloraError(
                    f"source '{there}' reaches module '{only[0]}' and source '{here}' does not: leave it out of "
                    "target_modules, or give rows that reach it"
                )
    names = left[first]
    warnings.warn(
        f"no row reaches {first_of(names)}: this Laplace knows nothing of them and serves no adapter on them",
        stacklevel=3,
    )
    return {name: summary for name, summary in known.items() if name not in names}


def _tell_of_rank(rank: int, factors: list[Factors]) -> None:
    every = [factor for part in factors for factor in [*part.inputs.values(), *part.outputs.values()]]
    short = [factor.rank for factor in every if factor.rank < min(rank, factor.size)]
    if short:
        warnings.warn(
            f"rank={rank} is more than the source rows support: {len(short)} of {len(every)} factors have "
            f"{min(short)} to {max(short)} eigenvectors, all of which are kept",
            stacklevel=3,
        )


def _summed(parts: list[Curvature], weight: float) -> Curvature:
    diagonals = [part for part in parts if isinstance(part, Diagonal)]
    if diagonals:
        return Diagonal.combined(diagonals).scaled(weight)
    of_weights = [part for part in parts if isinstance(part, WeightDiagonal)]
    if of_weights:
        return WeightDiagonal.combined(of_weights).scaled(weight)
    return parts[0].scaled(weight) if len(parts) == 1 else Sum.of(parts, [weight] * len(parts))
