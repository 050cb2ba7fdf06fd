"""From a trained adapter and two curvatures to its front."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from lalora.adapter import adapter_tensors, linear_pairs, peft_model
from lalora.batches import Batch
from lalora.curvature import Anchor, Factors, WeightKfac, weight_kfacs
from lalora.errors import LaloraError
from lalora.fisher import Sources
from lalora.laplace import Laplace, anchors_of, fit
from lalora.softening._adapter import without_change
from lalora.softening._budget import STRENGTHS
from lalora.softening._carrier import OfAdapter
from lalora.softening._front import Front
from lalora.softening._given import Text, factors_of, require
from lalora.softening._layers import decomposed
from lalora.softening._refine import LEARNING_RATE, refine
from lalora.softening._start import best_scale
from lalora.switched_off import why_not_base
from lalora.text import Text as AnyText
from lalora.text import batches_of_sources


def soften(
    model: nn.Module,
    target: Sources | Iterable[Batch] | AnyText,
    laplace: Laplace | None = None,
    strengths: Sequence[float] = STRENGTHS,
    *,
    source: Sources | Iterable[Batch] | AnyText | None = None,
    held_out: Iterable[Batch] | AnyText | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    refine_steps: int = 0,
    refine_strength: float = 1.0,
    refine_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: bool = True,
) -> Front:
    """Find the trade-offs of a trained adapter between what it learned and what it forgot, in closed form.

    For each layer and λ it is the ΔW of the same rank that minimises
    ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩ + λ·½⟨G_s, ΔW X_s ΔWᵀ⟩, with the target's curvature around the trained ΔW₁ and the
    source's around the base (the quadratic is that of Tam et al., arXiv 2312.04339). No step is taken, and the model
    stays as it is.

    Args:
        model: A PEFT LoRA model as it was trained, by whatever trainer.
        target: Batches of what it was trained on, as in `lalora.fit`; some 32 rows do.
        laplace: A `weight-kfac` Laplace of the base model, or of the adapter at its start, from source text. Of one of
            several tasks the factors are averaged, by weight, and multiplied by the sum of the weights.
        strengths: λ of the predictions.
        source: In the place of a Laplace: batches of source text, some 32 rows of each kind, that one is fitted on.
        held_out: Batches of target rows that were not trained on. The front begins at the scale of the adapter with the
            least loss on them, and at the adapter itself where none are given.
        tokenizer: Of the model, where any of these is text, as `lalora.source_batches` takes it.
        refine_steps: Steps of KL(trained ‖ model) on target rows + λ·KL(base ‖ model) on source rows, from the trained
            adapter and without labels, before it is softened: the front is of what they end with. They need `source`.
        refine_strength: λ of these steps.
        refine_rate: Their learning rate, which falls linearly to zero; that of the training is a good one.
        seed: Of the sampled labels.
        progress: Whether to show a progress bar.

    Returns:
        The front.

    Raises:
        LaloraError: If a strength is negative, the adapter is of another base or kind, changes nothing or is not
            finite, the Laplace is no `weight-kfac` around the base, or held-out rows are among those of the target.
    """
    rows = partial(batches_of_sources, tokenizer=tokenizer, model=model, seed=seed)
    return soften_with(
        model,
        rows(target),
        laplace,
        strengths,
        source=None if source is None else rows(source),
        held_out=None if held_out is None else rows(held_out),
        refine_steps=refine_steps,
        refine_strength=refine_strength,
        refine_rate=refine_rate,
        seed=seed,
        progress=progress,
    )


def soften_with(
    model: nn.Module,
    target: Sources | Iterable[Batch],
    laplace: Laplace | None,
    strengths: Sequence[float],
    *,
    source: Sources | Iterable[Batch] | None = None,
    held_out: Iterable[Batch] | None = None,
    refine_steps: int = 0,
    refine_strength: float = 1.0,
    refine_rate: float = LEARNING_RATE,
    seed: int = 0,
    progress: bool = True,
    around: Callable[[], Laplace] | None = None,
) -> Front:
    """Soften as `soften` does, with a target's curvature that may be there already.

    Args:
        model: As in `soften`.
        target: As in `soften`.
        laplace: As in `soften`.
        strengths: As in `soften`.
        source: As in `soften`.
        held_out: As in `soften`.
        refine_steps: As in `soften`.
        refine_strength: As in `soften`.
        refine_rate: As in `soften`.
        seed: As in `soften`.
        progress: As in `soften`.
        around: Gives the `weight-kfac` of the target around the adapter, asked where the front begins there.

    Returns:
        The front.
    """
    bare = peft_model(model)
    require(strengths, laplace, source)
    carrier, text = OfAdapter(bare), Text.of(bare, target, source, held_out)
    trained_anchors(bare)
    if laplace is None:
        with without_change(bare):
            laplace = fit(bare, text.source, curvature=WeightKfac.kind, seed=seed, progress=progress)
    of_source = _around_base(laplace, bare)
    with carrier.unchanged(bare):
        if refine_steps:
            refine(bare, text.target, text.source, refine_steps, refine_strength, refine_rate)
        scale = best_scale(carrier, text.held_out) if text.held_out else 1.0
        with carrier.scaled(scale):
            anchors = {name: anchor for name, anchor in trained_anchors(bare).items() if name in of_source.layers}
            if around is None or scale != 1 or refine_steps:
                of_target = fit(bare, text.target, curvature=WeightKfac.kind, seed=seed, progress=progress)
            else:
                of_target = around()
        layers = decomposed(anchors, factors_of(of_target.curvature), of_source)
    return Front(carrier, layers, strengths, scale, text.fitted(laplace))


def require_softenable(model: PeftModel) -> None:
    """Refuse a model whose adapter, however it is trained, cannot be softened.

    Args:
        model: A PEFT model.

    Raises:
        LaloraError: If the adapter switched off is not the base, or it is no plain LoRA.
    """
    reason = why_not_base(model)
    if reason is not None:
        raise LaloraError(f"with its adapter switched off this model is not its base model, since {reason}: convert it")
    pairs = linear_pairs(model)
    if odd := [pair.layer for pair in pairs if not pair.plain]:
        raise LaloraError(f"softening serves plain LoRA layers; '{odd[0]}' is of another kind, such as DoRA")
    served = {name for pair in pairs for name in (pair.a, pair.b)}
    if others := sorted(set(adapter_tensors(model)) - served):
        raise LaloraError(f"softening serves LoRA of linear layers; this adapter also changes '{others[0]}'")


def trained_anchors(model: PeftModel) -> Mapping[str, Anchor]:
    """Copy A, B and s of every layer that a trained adapter changes.

    Args:
        model: A PEFT LoRA model as it was trained.

    Returns:
        The three by layer.

    Raises:
        LaloraError: If the adapter is not plain linear LoRA on an untouched base, changes nothing or is not finite.
    """
    require_softenable(model)
    anchors = {name: anchor for name, anchor in anchors_of(model, WeightKfac.kind).items() if anchor.changes}
    if not anchors:
        raise LaloraError("the adapter changes nothing (A or B is zero everywhere): train it first")
    for name, anchor in anchors.items():
        if not all(bool(part.isfinite().all()) for part in (anchor.a, anchor.b) if part is not None):
            raise LaloraError(f"the adapter is not finite at '{name}': its training diverged")
    return anchors


def _around_base(laplace: Laplace, model: PeftModel) -> Factors:
    with warnings.catch_warnings():
        # No penalty is measured here from where the adapter is now.
        warnings.filterwarnings("ignore", message="the adapter already changes")
        curvature = laplace.anchored(model).curvature
    starts = [anchor for part in weight_kfacs(curvature)[0] for anchor in part.anchors.values()]
    if not laplace.of_base and any(start.changes for start in starts):
        raise LaloraError("this Laplace was fitted where the adapter had changed the model: fit it on the base model")
    return factors_of(curvature)
