"""What each of several curvatures forecasts for a run, whatever the run itself charges for."""

from collections.abc import Mapping

from peft import PeftModel

from lalora.laplace import Laplace
from lalora.study.bench import Bench
from lalora.study.records import Row
from lalora.study.settings import RunSettings


def forecasters(bench: Bench, model: PeftModel, settings: RunSettings) -> dict[str, Laplace]:
    """Fit the curvatures that a study wants forecasts of, or load them; runs of one start share them.

    Args:
        bench: Knows which, and keeps them.
        model: At the start of a run, also where the run goes on from a checkpoint.
        settings: Of the run.

    Returns:
        A Laplace by the name of its curvature; none where the study wants none.
    """
    found = {}
    for kind in bench.study.forecasts:
        # The estimator that is usual for each, and no prior, which no forecast counts: so that more runs share a fit.
        alike = {**settings.model_dump(), "method": "lalora", "curvature": kind, "fisher": None, "prior": 0.0}
        found[kind] = bench.laplace(model, RunSettings.model_validate(alike))
    return found


def forecasts(laplaces: Mapping[str, Laplace], model: PeftModel) -> Row:
    """Forecast KL(base ‖ model) on source text by each curvature.

    Args:
        laplaces: By the name of their curvature.
        model: Somewhere along its run.

    Returns:
        What to add to a row of metrics: `forecasts` in nats per token by curvature, or nothing.
    """
    return {"forecasts": {kind: laplace.forecast(model) for kind, laplace in laplaces.items()}} if laplaces else {}
