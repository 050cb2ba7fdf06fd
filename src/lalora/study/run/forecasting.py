"""What each of several curvatures forecasts for a run, whatever the run itself penalises."""

from collections.abc import Mapping

from peft import PeftModel

from lalora.curvature import Kfac, TriKfac, WeightKfac
from lalora.laplace import Laplace
from lalora.methods import LaLoRA
from lalora.study.recipe.settings import RunSettings
from lalora.study.setup.context import Context
from lalora.study.store.records import Row

_KRONECKER = (Kfac, TriKfac, WeightKfac)


def forecasters(context: Context, model: PeftModel, settings: RunSettings) -> dict[str, Laplace]:
    """Fit the curvatures that a study wants forecasts of, or load them; runs of one start share them.

    The model is at the start of a run, also where the run goes on from a checkpoint. Of the settings the shape of the
    adapter, the seed and the number of source rows count.
    """
    wanted: list[str] = list(context.study.forecasts)
    fitted = _fitted(settings)
    found = {kind: context.laplace(model, fitted, LaLoRA(curvature=kind, seed=fitted.seed)) for kind in _fits(wanted)}
    for laplace in list(found.values()):
        if isinstance(laplace.curvature, Kfac):
            found |= _of_the_same_factors(laplace, laplace.curvature)
    return {kind: found[kind] for kind in wanted}


def forecasts(laplaces: Mapping[str, Laplace], model: PeftModel) -> Row:
    """Forecast KL(base ‖ model) on source text by each curvature, as what to add to a row of metrics, if anything."""
    return {"forecasts": {kind: laplace.forecast(model) for kind, laplace in laplaces.items()}} if laplaces else {}


def _fits(wanted: list[str]) -> list[str]:
    # All Kronecker curvatures are made of the same factors, whose decomposition is what takes long.
    of_factors = {kind.kind for kind in _KRONECKER}
    return list(dict.fromkeys(Kfac.kind if kind in of_factors else kind for kind in wanted))


def _of_the_same_factors(laplace: Laplace, kfac: Kfac) -> dict[str, Laplace]:
    made = [kind.of(kfac.factors, kfac.anchors) for kind in _KRONECKER]
    return {one.kind: Laplace(laplace.mean, laplace.shapes, one, laplace.provenance) for one in made}


def _fitted(settings: RunSettings) -> RunSettings:
    # Everything else as it is by default, which is calibrated, so that runs of all methods share a fit.
    kept = ("seed", "rank", "alpha", "init", "target_modules", "steps", "source_rows")
    return RunSettings.model_validate({name: getattr(settings, name) for name in kept})
