"""From a full fine-tuning, its base and two curvatures to a front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from lalora.adapter import has_adapter
from lalora.batches import Batch
from lalora.curvature import WeightKfac
from lalora.errors import LaloraError
from lalora.fisher import Sources
from lalora.laplace import Laplace, fit, require_fitted_on, target_layers
from lalora.softening._budget import STRENGTHS
from lalora.softening._carrier import OfWeights, weight_of
from lalora.softening._front import Front
from lalora.softening._given import Text, factors_of, require
from lalora.softening._start import best_scale
from lalora.softening._whole import WholeLayer

_ALL = "all-linear"


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
    require(strengths, laplace, source)
    for one in (model, base):
        if has_adapter(one):
            raise LaloraError("a full fine-tuning is softened beside its base, both without an adapter")
    carrier, text = OfWeights(model, base), Text.of(model, target, source, held_out)
    changes = _changes(model, base)
    if laplace is None:
        laplace = fit(base, text.source, curvature=WeightKfac.kind, target_modules=_ALL, seed=seed, progress=progress)
    require_fitted_on(laplace.provenance, base)
    of_source = factors_of(laplace.curvature)
    scale = best_scale(carrier, text.held_out) if text.held_out else 1.0
    changes = {name: scale * change for name, change in changes.items() if name in of_source.layers}
    with carrier.unchanged(model):
        carrier.put(model, changes)
        fitted = fit(model, text.target, curvature=WeightKfac.kind, target_modules=_ALL, seed=seed, progress=progress)
    around = factors_of(fitted.curvature)
    layers = {
        name: WholeLayer.of(change, (around.g(name), around.x(name)), (of_source.g(name), of_source.x(name)))
        for name, change in changes.items()
    }
    return Front(carrier, layers, strengths, scale, text.fitted(laplace))


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
