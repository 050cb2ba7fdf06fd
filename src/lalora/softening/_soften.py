"""From a trained adapter and two curvatures to its front."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from peft import PeftModel
from torch import Tensor, nn
from typing_extensions import Self

from lalora.adapter import has_adapter, linear_pairs, peft_model
from lalora.batches import Batch
from lalora.curvature import Anchor, Factors, WeightKfac
from lalora.errors import LaloraError
from lalora.fisher import Sources, named_sources
from lalora.laplace import Laplace, anchors_of, fit, require_fitted_on, require_non_negative, target_layers
from lalora.scoring import ready_batches
from lalora.softening._adapter import without_change
from lalora.softening._carrier import OfAdapter, OfWeights, weight_of
from lalora.softening._front import Front
from lalora.softening._layers import decomposed
from lalora.softening._measured import digest, digests
from lalora.softening._start import best_scale
from lalora.softening._whole import WholeLayer
from lalora.switched_off import why_not_base

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
_ALL = "all-linear"


def soften(
    model: nn.Module,
    target: Sources | Iterable[Batch],
    laplace: Laplace | None = None,
    strengths: Sequence[float] = STRENGTHS,
    *,
    source: Sources | Iterable[Batch] | None = None,
    held_out: Iterable[Batch] | None = None,
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
        laplace: A `weight-kfac` Laplace of the base model, or of the adapter at its start, from source text.
        strengths: λ of the predictions.
        source: In the place of a Laplace: batches of source text, some 32 rows of each kind, that one is fitted on.
        held_out: Batches of target rows that were not trained on. The front begins at the scale of the adapter with the
            least loss on them, and at the adapter itself where none are given.
        seed: Of the sampled labels.
        progress: Whether to show a progress bar.

    Returns:
        The front.

    Raises:
        LaloraError: If a strength is negative, the adapter is of another base or kind, changes nothing or is not
            finite, the Laplace is no `weight-kfac` around the base, or held-out rows are among those of the target.
    """
    bare = peft_model(model)
    _require(strengths, laplace, source)
    carrier, text = OfAdapter(bare), _Text.of(bare, target, source, held_out)
    _anchors(bare)
    if laplace is None:
        with without_change(bare):
            laplace = fit(bare, text.source, curvature=WeightKfac.kind, seed=seed, progress=progress)
    of_source = _around_base(laplace, bare)
    scale = best_scale(carrier, text.held_out) if text.held_out else 1.0
    with carrier.scaled(scale):
        anchors = {name: anchor for name, anchor in _anchors(bare).items() if name in of_source.layers}
        around = fit(bare, text.target, curvature=WeightKfac.kind, seed=seed, progress=progress)
    layers = decomposed(anchors, _factors(around), of_source)
    return Front(carrier, layers, strengths, scale, text.fitted(laplace))


def soften_weights(
    model: nn.Module,
    base: nn.Module,
    target: Sources | Iterable[Batch],
    laplace: Laplace | None = None,
    strengths: Sequence[float] = STRENGTHS,
    *,
    source: Sources | Iterable[Batch] | None = None,
    held_out: Iterable[Batch] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Front:
    """Find the trade-offs of a full fine-tuning, as `soften` finds those of an adapter.

    Every linear layer but the head is softened, without a limit to its rank; what else was trained goes back to the
    base. Both models are held in memory, and about three times their weights besides.

    Args:
        model: As it was trained.
        base: The model it was trained from.
        target: As in `soften`.
        laplace: A `weight-kfac` Laplace of the base model.
        strengths: As in `soften`.
        source: As in `soften`.
        held_out: As in `soften`.
        seed: As in `soften`.
        progress: As in `soften`.

    Returns:
        The front; what it measures needs `base=`.

    Raises:
        LaloraError: As `soften`; or if the two models have other weights by name or shape, or one carries an adapter.
    """
    _require(strengths, laplace, source)
    for one in (model, base):
        if has_adapter(one):
            raise LaloraError("a full fine-tuning is softened beside its base, both without an adapter")
    carrier, text = OfWeights(model, base), _Text.of(model, target, source, held_out)
    changes = _changes(model, base)
    if laplace is None:
        laplace = fit(base, text.source, curvature=WeightKfac.kind, target_modules=_ALL, seed=seed, progress=progress)
    require_fitted_on(laplace.provenance, base)
    of_source = _factors(laplace)
    scale = best_scale(carrier, text.held_out) if text.held_out else 1.0
    changes = {name: scale * change for name, change in changes.items() if name in of_source.layers}
    with carrier.unchanged(model):
        carrier.put(model, changes)
        around = _factors(
            fit(model, text.target, curvature=WeightKfac.kind, target_modules=_ALL, seed=seed, progress=progress)
        )
    layers = {
        name: WholeLayer.of(change, (around.g(name), around.x(name)), (of_source.g(name), of_source.x(name)))
        for name, change in changes.items()
    }
    return Front(carrier, layers, strengths, scale, text.fitted(laplace))


@dataclass(frozen=True)
class _Text:
    """What is fitted and what is not, as checked batches."""

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
    ) -> Self:
        named = target if isinstance(target, Mapping) else {"target": target}
        found = cls(
            {name: list(ready_batches(model, batches)) for name, batches in named_sources(named).items()},
            {}
            if source is None
            else {name: list(ready_batches(model, batches)) for name, batches in named_sources(source).items()},
            [] if held_out is None else list(ready_batches(model, held_out)),
        )
        if _hashes([found.held_out]) & _hashes(found.target.values()):
            raise LaloraError("held-out rows are among those of the target: give rows that were not trained on")
        return found

    def fitted(self, laplace: Laplace) -> set[str]:
        known = {dataset.sha256 for dataset in laplace.provenance.datasets}
        return known | _hashes([*self.target.values(), *self.source.values()])


def _hashes(texts: Iterable[list[Batch]]) -> set[str]:
    return {one for batches in texts for one in (digest(batches), *digests(batches)) if batches}


def _require(strengths: Sequence[float], laplace: Laplace | None, source: object) -> None:
    for strength in strengths:
        require_non_negative("strength", strength)
    if (laplace is None) == (source is None):
        raise LaloraError("give a Laplace of the base model, or source= to fit one: one of the two")
    if laplace is not None and not isinstance(laplace.curvature, WeightKfac):
        raise LaloraError("softening needs a Laplace with curvature='weight-kfac' (and combine='mean')")


def _factors(laplace: Laplace) -> Factors:
    assert isinstance(laplace.curvature, WeightKfac)
    return laplace.curvature.factors


def _changes(model: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    own, theirs = ({name: tensor.shape for name, tensor in one.state_dict().items()} for one in (model, base))
    if own != theirs:
        odd = sorted(name for name in {*own, *theirs} if own.get(name) != theirs.get(name))
        raise LaloraError(f"the model and its base differ in the names or shapes of weights, such as '{odd[0]}'")
    layers, others = (target_layers(one, _ALL, WeightKfac.kind) for one in (model, base))
    found = {name: weight_of(layer).double() - weight_of(others[name]).double() for name, layer in layers.items()}
    for name, change in found.items():
        if not bool(change.isfinite().all()):
            raise LaloraError(f"the model is not finite at '{name}': its training diverged")
    found = {name: change for name, change in found.items() if bool(change.any())}
    if not found:
        raise LaloraError("the model has the linear weights of its base: nothing was trained")
    return found


def _anchors(model: PeftModel) -> Mapping[str, Anchor]:
    reason = why_not_base(model)
    if reason is not None:
        raise LaloraError(f"with its adapter switched off this model is not its base model, since {reason}: convert it")
    if odd := [pair.layer for pair in linear_pairs(model) if not pair.plain]:
        raise LaloraError(f"softening serves plain LoRA layers; '{odd[0]}' is of another kind, such as DoRA")
    anchors = {name: anchor for name, anchor in anchors_of(model, WeightKfac.kind).items() if anchor.changes}
    if not anchors:
        raise LaloraError("the adapter changes nothing (A or B is zero everywhere): train it first")
    for name, anchor in anchors.items():
        if not all(bool(part.isfinite().all()) for part in (anchor.a, anchor.b) if part is not None):
            raise LaloraError(f"the adapter is not finite at '{name}': its training diverged")
    return anchors


def _around_base(laplace: Laplace, model: PeftModel) -> Factors:
    with warnings.catch_warnings():
        # Nothing is charged here from where the adapter is now.
        warnings.filterwarnings("ignore", message="the adapter already changes")
        curvature = laplace.attach(model).curvature
    assert isinstance(curvature, WeightKfac)
    if not laplace.of_base and any(anchor.changes for anchor in curvature.anchors.values()):
        raise LaloraError("this Laplace was fitted where the adapter had changed the model: fit it on the base model")
    return curvature.factors
