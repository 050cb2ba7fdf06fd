"""`lalora.fit`: measure how much each adapter weight matters for what the model knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from transformers import PreTrainedTokenizerBase

from lalora.fisher import Batch, Sources, own_part
from lalora.laplace._laplace import Laplace
from lalora.laplace._settings import FitSettings
from lalora.laplace._stage_one import fit_with
from lalora.text import Text, batches_of_sources


def fit(
    model: nn.Module,
    sources: Sources | Iterable[Batch] | Text,
    *,
    curvature: str = "weight-kfac",
    target_modules: str | Sequence[str] | None = None,
    fisher: str | None = None,
    labels: str = "sampled",
    combine: str = "mean",
    factor_rank: int | None = None,
    factor_keep: float | None = None,
    prior: float | str = 0.0,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Laplace:
    """Fit a Laplace approximation over the trainable tensors of a PEFT LoRA model.

    The model is left unchanged: modes, gradients, hooks, random state, weights.

    Args:
        model: A PEFT LoRA model at its start, the point that fine-tuning is held to; or, with `target_modules`, a base
            model without an adapter.
        sources: Source text: a mapping of dataset names to iterables of batches, or one such iterable. A batch is a
            dict of `input_ids`, unshifted `labels` (-100 where a token is no completion) and `attention_mask`, each
            (rows, length), one sequence a row. With `tokenizer`, in the place of batches whatever
            `lalora.source_batches` takes, such as strings, chats, the path of a file, or `self`.
        curvature: One whose penalty is on the true change of the merged weight and so stays right when A moves:
            `weight-kfac`, `weight-diagonal` (EWC-LoRA); or the paper's over A and B: `diagonal` (Eq. 6), `kfac` (Eq.
            8), `tri-kfac` (Eq. 10).
        target_modules: For a base model without an adapter: the layers to know about, as in `peft.LoraConfig`, such as
            `all-linear`. Needs a weight-space curvature; the result serves adapters of every rank, scale and start on
            any of these layers.
        fisher: `sequence` (each sequence by itself; default for diagonals), `token` (each input position; default
            for Kronecker factors) or `batch` (each mini-batch's mean, the paper's Eq. 5; diagonals only).
        labels: `sampled` (drawn from the model: the true Fisher) or `data` (the empirical Fisher of the paper).
        combine: Over datasets `mean` (of Kronecker factors: Eq. 36), `sum` (§3 of the paper), or `separate` (a
            curvature for each, their penalties averaged).
        factor_rank: Most eigenvectors of a Kronecker factor to keep; None for all that the data support. A diagonal has
            none.
        factor_keep: Share of the trace of each Kronecker factor to keep at least, such as 0.99; None for all of it.
        prior: Precision δ ≥ 0 that the penalty has besides Λ, for the directions of which a few batches say nothing:
            δ‖Δ‖², or δ‖ΔW‖²_F in weight space. `auto` is the mean eigenvalue of Λ: an unknown direction is as stiff as
            the average one. The strength multiplies it too; the forecast leaves it out.
        tokenizer: Of the model, where the sources are text.
        seed: Seed of the sampled labels, which also depend on dataset, row and process, never on batch size.
        progress: Whether to show a progress bar.

    Returns:
        Mean, curvature and provenance.

    Raises:
        LaloraError: If an argument has an unknown value, the model has no LoRA adapter or one that the curvature
            cannot serve, a dataset is empty or malformed, or a loss or gradient is not finite.
    """
    settings = FitSettings(curvature, fisher, labels, combine, factor_rank, factor_keep, seed)
    # Text is the same in every process, and each takes its part; batches that are given are its part already.
    batches = batches_of_sources(sources, tokenizer, model, seed, own_part)
    return fit_with(settings, model, batches, target_modules=target_modules, prior=prior, progress=progress)
