"""All trade-offs of one trained adapter between its target and its source."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import linear_pairs, peft_model
from lalora.curvature import Factors, WeightKfac
from lalora.errors import LaloraError
from lalora.fisher import Batch, Sources
from lalora.laplace import Laplace, anchors_of, fit, require_non_negative
from lalora.softening._layers import Layer, decomposed
from lalora.switched_off import why_not_base


@dataclass(frozen=True)
class Prediction:
    """What the two quadratics say of the adapter at one strength. Both are far below what rows of another text measure.

    Attributes:
        strength: λ.
        source: KL(base ‖ model) on source text, nats per token.
        target: KL(trained ‖ model) on target text, nats per token.
    """

    strength: float
    source: float
    target: float


class Front:
    """Softened versions of one adapter, at any strength; the adapter itself stays as it was trained.

    Attributes:
        strengths: Those that were asked for.
    """

    def __init__(self, model: PeftModel, layers: Mapping[str, Layer], strengths: Sequence[float]) -> None:
        """Keep the decomposition; `soften` makes it.

        Args:
            model: With the adapter.
            layers: Decomposed layers by name.
            strengths: λ of the predictions.
        """
        self._model = model
        self._layers = dict(layers)
        self.strengths = tuple(strengths)

    @property
    def predictions(self) -> list[Prediction]:
        """What is predicted at each strength."""
        return [self.predict(strength) for strength in self.strengths]

    def predict(self, strength: float) -> Prediction:
        """Predict both sides at a strength.

        Args:
            strength: λ ≥ 0; 0 is the adapter as it was trained.

        Returns:
            The prediction.

        Raises:
            LaloraError: If the strength is negative or not finite.
        """
        require_non_negative("strength", strength)
        softened = {name: layer.at(strength) for name, layer in self._layers.items()}
        source = sum(layer.drift() for layer in softened.values())
        return Prediction(strength, source, sum(layer.distance(self._layers[name]) for name, layer in softened.items()))

    def apply(self, model: nn.Module, strength: float = 1.0) -> None:
        """Set the active adapter of a model to its softened version.

        Args:
            model: The PEFT model that was softened, or one with an adapter of the same layers and ranks.
            strength: λ ≥ 0; 0 is the adapter as it was trained.

        Raises:
            LaloraError: If the strength is negative or not finite, or the model has no such adapter.
        """
        require_non_negative("strength", strength)
        pairs = {pair.layer: pair for pair in linear_pairs(model)}
        if missing := sorted(set(self._layers) - set(pairs)):
            raise LaloraError(f"this front is of another adapter: the model has no adapted layer '{missing[0]}'")
        for name, layer in self._layers.items():
            pair = pairs[name]
            out, into = layer.at(strength).change()
            _set(pair.up.weight, out, dim=1, scale=pair.scaling)
            _set(pair.down.weight, into, dim=0)

    def add_adapter(self, model: nn.Module, name: str, strength: float = 1.0) -> None:
        """Add a softened version beside the active adapter, which stays active.

        Args:
            model: The PEFT model that was softened.
            name: What to call it.
            strength: λ ≥ 0.

        Raises:
            LaloraError: As `apply`; or if the model has an adapter of that name.
        """
        require_non_negative("strength", strength)
        bare = peft_model(model)
        active = bare.active_adapters[0]
        if name in bare.peft_config:
            raise LaloraError(f"the model has an adapter '{name}' already: choose another name")
        trainable = {parameter: parameter.requires_grad for parameter in bare.parameters()}
        bare.add_adapter(name, copy.deepcopy(bare.peft_config[active]))
        bare.set_adapter(name)
        try:
            self.apply(bare, strength)
        finally:
            bare.set_adapter(active)
            for parameter, trained in trainable.items():
                parameter.requires_grad_(trained)

    def save(self, folder: str | Path, strength: float = 1.0) -> None:
        """Save a softened version in PEFT's format, with the rank and the settings of the adapter.

        Args:
            folder: Where to; it must not exist, or be empty.
            strength: λ ≥ 0.

        Raises:
            LaloraError: As `apply`; or if the folder holds something.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise LaloraError(f"{path} is there already: choose another folder")
        with _unchanged(self._model):
            self.apply(self._model, strength)
            self._model.save_pretrained(str(path), selected_adapters=[self._model.active_adapters[0]])


def soften(
    model: nn.Module,
    target: Sources | Iterable[Batch],
    laplace: Laplace,
    strengths: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    *,
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
        seed: Of the sampled labels.
        progress: Whether to show a progress bar.

    Returns:
        The front.

    Raises:
        LaloraError: If a strength is negative, the adapter is of another base or kind, changes nothing or is not
            finite, or the Laplace is no `weight-kfac` around the base.
    """
    for strength in strengths:
        require_non_negative("strength", strength)
    bare = peft_model(model)
    reason = why_not_base(bare)
    if reason is not None:
        raise LaloraError(f"with its adapter switched off this model is not its base model, since {reason}: convert it")
    if odd := [pair.layer for pair in linear_pairs(bare) if not pair.plain]:
        raise LaloraError(f"softening serves plain LoRA layers; '{odd[0]}' is of another kind, such as DoRA")
    if not isinstance(laplace.curvature, WeightKfac):
        raise LaloraError("softening needs a Laplace with curvature='weight-kfac' (and combine='mean')")
    anchors = {name: anchor for name, anchor in anchors_of(bare, WeightKfac.kind).items() if anchor.changes}
    if not anchors:
        raise LaloraError("the adapter changes nothing (A or B is zero everywhere): train it first")
    for name, anchor in anchors.items():
        if not all(bool(part.isfinite().all()) for part in (anchor.a, anchor.b) if part is not None):
            raise LaloraError(f"the adapter is not finite at '{name}': its training diverged")
    source = _around_base(laplace, bare)
    anchors = {name: anchor for name, anchor in anchors.items() if name in source.layers}
    fitted = fit(bare, target, curvature=WeightKfac.kind, seed=seed, progress=progress)
    assert isinstance(fitted.curvature, WeightKfac)
    return Front(bare, decomposed(anchors, fitted.curvature.factors, source), strengths)


def _around_base(laplace: Laplace, model: PeftModel) -> Factors:
    with warnings.catch_warnings():
        # Nothing is charged here from where the adapter is now.
        warnings.filterwarnings("ignore", message="the adapter already changes")
        curvature = laplace.attach(model).curvature
    assert isinstance(curvature, WeightKfac)
    if not laplace.of_base and any(anchor.changes for anchor in curvature.anchors.values()):
        raise LaloraError("this Laplace was fitted where the adapter had changed the model: fit it on the base model")
    return curvature.factors


@torch.no_grad()
def _set(weight: Tensor, found: Tensor, dim: int, scale: float = 1.0) -> None:
    rank = min(weight.shape[dim], found.shape[dim])
    weight.zero_()
    weight.narrow(dim, 0, rank).copy_(found.narrow(dim, 0, rank) / scale)


@contextmanager
def _unchanged(model: PeftModel) -> Generator[None, None, None]:
    kept = [
        (weight, weight.detach().clone())
        for pair in linear_pairs(model)
        for weight in (pair.up.weight, pair.down.weight)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in kept:
                weight.copy_(before)
