"""Stage I: measure how much each adapter weight matters for what the model knows."""

from __future__ import annotations

from collections.abc import Iterable

from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import linear_pairs, lora_layers, peft_model, snapshot, trainable_tensors
from lalora.curvature import Anchor, Curvature, Diagonal, Factors, Kfac, Sum, TriKfac, WeightDiagonal, WeightKfac
from lalora.errors import LaloraError
from lalora.fisher import (
    ESTIMATORS,
    Batch,
    DiagonalCollector,
    KroneckerCollector,
    Pass,
    Sources,
    named_sources,
)
from lalora.laplace._laplace import Laplace
from lalora.laplace._limits import require_prior
from lalora.laplace._provenance import Dataset, describe

_KRONECKER: dict[str, type[Kfac] | type[TriKfac] | type[WeightKfac]] = {
    kind.kind: kind for kind in (Kfac, TriKfac, WeightKfac)
}


def fit(
    model: nn.Module,
    sources: Sources | Iterable[Batch],
    *,
    curvature: str = "diagonal",
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
        model: A PEFT LoRA model at its start, the point that fine-tuning is held to.
        sources: Source text: a mapping of dataset names to iterables of batches, or one such iterable. A batch is a
            dict of `input_ids`, unshifted `labels` (-100 where a token is no completion) and `attention_mask`, each
            (rows, length), one sequence a row.
        curvature: `diagonal` (Eq. 6), `kfac` (Eq. 8), `tri-kfac` (Eq. 10), or one that charges for the true change of
            the merged weight and so stays right when A moves: `weight-kfac`, `weight-diagonal` (EWC-LoRA).
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
        seed: Seed of the sampled labels, which also depend on dataset and row, never on batch size.
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
    if rank is not None and rank < 1:
        raise LaloraError(f"rank must be 1 or more, not {rank}")
    if keep is not None and not 0 < keep <= 1:
        raise LaloraError(f"keep must be a share of the trace, above 0 and at most 1, not {keep}")
    require_prior(prior)
    bare = peft_model(model)
    if any(layer.merged for layer in lora_layers(bare).values()):
        raise LaloraError("the adapter is merged into the base weights: call unmerge_adapter() before fitting")
    stage_one = Pass(bare, labels, seed, progress)
    anchors = {} if curvature == Diagonal.kind else _anchors(bare, curvature)
    squared: list[dict[str, Tensor]] = []
    factors: list[Factors] = []
    datasets: list[Dataset] = []
    for dataset, batches in named_sources(sources).items():
        if curvature in _KRONECKER:
            gathered = KroneckerCollector(bare, fisher)
            counts = stage_one.over(dataset, batches, gathered)
            factors.append(gathered.factors(counts, rank, keep))
            reached = set(factors[-1].layers)
        else:
            of = DiagonalCollector.of_adapter if curvature == Diagonal.kind else DiagonalCollector.of_weights
            squares = of(bare, fisher)
            counts = stage_one.over(dataset, batches, squares)
            squared.append(squares.precision(counts))
            reached = set(squared[-1])
        unreached = sorted(set(anchors) - reached)
        if unreached:
            raise LaloraError(
                f"no row of source '{dataset}' reaches module '{unreached[0]}': leave it out of the adapter"
            )
        datasets.append(Dataset(dataset, counts.rows, counts.tokens, counts.batches, counts.sha256))
    if curvature in _KRONECKER and combine == "mean":
        factors = [Factors.mean(factors).truncated(rank, keep)]
    parts: list[Curvature] = [_KRONECKER[curvature].of(part, anchors) for part in factors]
    parts += [Diagonal.of(part) if curvature == Diagonal.kind else WeightDiagonal.of(part, anchors) for part in squared]
    total = _summed(parts, 1.0 if combine == "sum" else 1.0 / len(parts))
    provenance = describe(
        bare, tuple(datasets), curvature=curvature, fisher=fisher, labels=labels, combine=combine, seed=seed
    )
    mean = {name: tensor for name, tensor in snapshot(bare).items() if bool(tensor.any())}
    shapes = {name: tuple(parameter.shape) for name, parameter in trainable_tensors(bare).items()}
    return Laplace(mean, shapes, total, provenance, prior)


def _summed(parts: list[Curvature], weight: float) -> Curvature:
    diagonals = [part for part in parts if isinstance(part, Diagonal)]
    if diagonals:
        return Diagonal.combined(diagonals).scaled(weight)
    of_weights = [part for part in parts if isinstance(part, WeightDiagonal)]
    if of_weights:
        return WeightDiagonal.combined(of_weights).scaled(weight)
    return parts[0].scaled(weight) if len(parts) == 1 else Sum.of(parts, [weight] * len(parts))


def _anchors(model: PeftModel, curvature: str) -> dict[str, Anchor]:
    pairs = linear_pairs(model)
    tensors = trainable_tensors(model)
    pairs = [pair for pair in pairs if pair.plain and pair.a in tensors and pair.b in tensors]
    served = {name for pair in pairs for name in (pair.a, pair.b)}
    for name in tensors:
        if name not in served:
            raise LaloraError(
                f"curvature='{curvature}' serves plain linear LoRA layers only, with A and B both trainable, not "
                f"'{name}': use curvature='diagonal'"
            )
    return {
        pair.layer: Anchor.of(
            pair.down.weight.detach().cpu().clone(), pair.up.weight.detach().cpu().clone(), pair.scaling
        )
        for pair in pairs
    }
