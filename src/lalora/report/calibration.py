"""What each curvature forecast beside what was measured, wherever a study asked for forecasts."""

from dataclasses import dataclass

from lalora.report.schema import Results
from lalora.report.summary import difference, label, share


@dataclass(frozen=True)
class Point:
    """A run at one step after its start.

    Losses, KL and forecasts in nats per token; `kl` by data set, `forecasts` and `ratios` (measured KL on source text /
    forecast) by curvature.
    """

    run: int
    label: str
    step: int
    target_loss: float | None
    source_rise: float | None
    kl: dict[str, float | None]
    source_kl: float | None
    heldout_kl: float | None
    forecasts: dict[str, float | None]
    ratios: dict[str, float | None]


def calibration(results: Results) -> list[Point]:
    """Returns every point with forecasts, run by run; none where the study asked for none."""
    return [
        Point(
            run=index,
            label=label(results, run),
            step=row.step,
            target_loss=row.target_loss,
            source_rise=difference(row.source_loss, results.base.source_loss),
            kl=row.kl,
            source_kl=row.source_kl,
            heldout_kl=row.heldout_kl,
            forecasts=row.forecasts,
            ratios={kind: share(row.source_kl, forecast) for kind, forecast in row.forecasts.items()},
        )
        for index, run in enumerate(results.runs)
        for row in run.points
        if row.step > 0 and row.forecasts
    ]


def curvatures(points: list[Point]) -> list[str]:
    """Returns the curvatures that have a forecast somewhere, in the order of the recipe."""
    return list(dict.fromkeys(kind for point in points for kind in point.forecasts))


def datasets(points: list[Point]) -> list[str]:
    """Returns the data sets whose KL was measured somewhere."""
    return list(dict.fromkeys(name for point in points for name in point.kl))
