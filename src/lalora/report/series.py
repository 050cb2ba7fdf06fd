"""The curves over steps that pictures and page share: which there are, and their points."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from lalora.report.seeds import Seeds, Spread, band
from lalora.results.pareto import Point
from lalora.results.schema import Results, Run

Band = list[tuple[float, Spread]]
"""What the seeds of a label measured, by step."""

MOST_POINTS = 300
"""Longer curves are averaged over neighbouring steps; no screen shows more."""


@dataclass(frozen=True)
class Curve:
    """One plot over steps.

    It shows the field `key`, which the training logged (`trained`) or an evaluation measured, and which may jump
    from batch to batch (`noisy`). A `share` is measured from 0 to 1 and shown in percent. With a `data_set` the field
    has a value for each data set, of which that one's is shown.
    """

    key: str
    title: str
    axis: str
    trained: bool = False
    noisy: bool = False
    share: bool = False
    data_set: str | None = None

    def of(self, row: Any) -> float | None:
        """Returns its value in a row of what was logged or measured."""
        found: Any = getattr(row, self.key)
        value: float | None = found if self.data_set is None else found.get(self.data_set)
        return value


_TARGET_LOSS = Curve("target_loss", "Target loss", "scored rows, nats per token")
_SOURCE_KL = Curve("source_kl", "Drift on source text", "KL(base ‖ model), nats per token")
CURVES = (
    Curve("loss", "Training loss", "target loss of the batch, nats per token", trained=True, noisy=True),
    _TARGET_LOSS,
    Curve("source_loss", "Source loss", "mean over sources, nats per token"),
    _SOURCE_KL,
    Curve("heldout_kl", "Drift on held-out text", "KL(base ‖ model), nats per token"),
    Curve("penalty", "Penalty", "weighted cost of drift, nats", trained=True),
)
ACCURACIES = (
    Curve("source_accuracy", "Source accuracy", "mean over sources, percent", share=True),
    Curve("target_accuracy", "Target accuracy", "percent", share=True),
)


def curves(results: Results) -> list[Curve]:
    """Returns the plots of a study; those of an accuracy where a run measured it on its way, not at its end alone."""
    return [*CURVES, *(curve for curve in ACCURACIES if on_the_way(results, curve))]


def forgetting_and_learning(results: Results) -> tuple[Curve, Curve]:
    """Returns the plots of the two: accuracies where a run measured them on its way, else source KL and target loss."""
    forgetting, learning = ACCURACIES
    return (
        forgetting if on_the_way(results, forgetting) else _SOURCE_KL,
        learning if on_the_way(results, learning) else _TARGET_LOSS,
    )


def on_the_way(results: Results, curve: Curve) -> bool:
    """Returns whether some run measured a quantity more often than at its start and its end."""
    return any(sum(step > 0 for step, _ in points(run, curve)) > 1 for run in results.runs)


def bands(results: Results, seeds: Sequence[Seeds], curve: Curve) -> list[Band]:
    """Returns a plot's mean and deviation over the seeds of each label."""
    return [band([points(results.runs[run], curve) for run in one.runs]) for one in seeds]


def points(run: Run, curve: Curve) -> list[Point]:
    """Returns the (step, value) pairs of a run in a plot, thinned to what a screen can show."""
    rows = run.train if curve.trained else run.points
    scale = 100.0 if curve.share else 1.0
    pairs = [(float(row.step), scale * value) for row in rows if (value := curve.of(row)) is not None]
    width = -(-len(pairs) // MOST_POINTS)
    bins = [pairs[start : start + width] for start in range(0, len(pairs), width or 1)]
    return [(mean(x for x, _ in part), mean(y for _, y in part)) for part in bins]


def smooth(curve: list[Point]) -> list[Point]:
    """Returns a centred moving mean over a tenth of the curve; it narrows near an end, so that no end is bent."""
    widest = len(curve) // 20
    reaches = [min(widest, i, len(curve) - 1 - i) for i in range(len(curve))]
    return [
        (x, mean(y for _, y in curve[i - r : i + r + 1]))
        for i, ((x, _), r) in enumerate(zip(curve, reaches, strict=True))
    ]


def predictions(run: Run) -> list[tuple[float, float, float]]:
    """Returns (step, predicted KL, measured KL) wherever both are known after step 0, nats per token.

    What was logged by the training counts for the evaluation that follows it.
    """
    logged = [(row.step, row.forecast) for row in run.train if row.forecast is not None]
    found = []
    for row in run.points:
        earlier = [value for step, value in logged if step <= row.step]
        predicted = row.forecast if row.forecast is not None else (earlier[-1] if earlier else None)
        if row.step > 0 and predicted is not None and row.source_kl is not None:
            found.append((float(row.step), predicted, row.source_kl))
    return found
