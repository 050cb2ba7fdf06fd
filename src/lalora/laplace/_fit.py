"""Stage I: measure how much each adapter weight matters for what the model knows."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lalora.adapter import lora_layers, peft_model, snapshot, trainable_tensors
from lalora.curvature import Diagonal
from lalora.errors import LaloraError
from lalora.fisher import ESTIMATORS, Batch, DiagonalFisher, Sources, named_sources
from lalora.laplace._laplace import Laplace
from lalora.laplace._provenance import Dataset, describe


def fit(
    model: nn.Module,
    sources: Sources | Iterable[Batch],
    *,
    curvature: str = "diagonal",
    fisher: str = "sequence",
    labels: str = "sampled",
    combine: str = "mean",
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
        curvature: `diagonal`.
        fisher: `sequence` (squared gradient of each sequence), `token` (of each input position) or `batch` (of each
            mini-batch's mean: the paper's Eq. 5).
        labels: `sampled` (drawn from the model: the true Fisher) or `data` (the empirical Fisher of the paper).
        combine: `mean` over datasets, or their `sum` (the paper).
        seed: Seed of the sampled labels, which also depend on dataset and row, never on batch size.
        progress: Whether to show a progress bar.

    Returns:
        Mean, curvature and provenance.

    Raises:
        LaloraError: If an argument has an unknown value, the model has no LoRA adapter, a dataset is empty or
            malformed, or a loss or gradient is not finite.
    """
    for name, value, known in (
        ("curvature", curvature, (Diagonal.kind,)),
        ("fisher", fisher, tuple(ESTIMATORS)),
        ("labels", labels, ("sampled", "data")),
        ("combine", combine, ("mean", "sum")),
    ):
        if value not in known:
            raise LaloraError(f"{name}='{value}' is unknown: choose {' or '.join(known)}")
    bare = peft_model(model)
    if any(layer.merged for layer in lora_layers(bare).values()):
        raise LaloraError("the adapter is merged into the base weights: call unmerge_adapter() before fitting")
    stage_one = DiagonalFisher(bare, fisher, labels, seed)
    parts = [stage_one.of(dataset, batches, progress) for dataset, batches in named_sources(sources).items()]
    total = Diagonal.combined([Diagonal.of(part.precision) for part in parts])
    if combine == "mean":
        total = total.scaled(1.0 / len(parts))
    datasets = tuple(Dataset(part.dataset, part.rows, part.tokens, part.batches, part.sha256) for part in parts)
    provenance = describe(bare, datasets, curvature=curvature, fisher=fisher, labels=labels, combine=combine, seed=seed)
    mean = {name: tensor for name, tensor in snapshot(bare).items() if bool(tensor.any())}
    shapes = {name: tuple(parameter.shape) for name, parameter in trainable_tensors(bare).items()}
    return Laplace(mean, shapes, total, provenance)
