"""The curves over steps that pictures and page share: which there are, and their points."""

from dataclasses import dataclass
from statistics import mean

from lalora.results.pareto import Point
from lalora.results.schema import Results, Run

MOST_POINTS = 300
"""Longer curves are averaged over neighbouring steps; no screen shows more."""


@dataclass(frozen=True)
class Curve:
    """One plot over steps.

    It shows the field `key`, which the training logged (`trained`) or an evaluation measured, and which may jump
    from batch to batch (`noisy`). A `share` is measured from 0 to 1 and shown in percent.
    """

    key: str
    title: str
    axis: str
    trained: bool = False
    noisy: bool = False
    share: bool = False


CURVES = (
    Curve("loss", "Training loss", "target loss of the batch, nats per token", trained=True, noisy=True),
    Curve("target_loss", "Target loss", "scored rows, nats per token"),
    Curve("source_loss", "Source loss", "mean over sources, nats per token"),
    Curve("source_kl", "Drift on source text", "KL(base ‖ model), nats per token"),
    Curve("heldout_kl", "Drift on held-out text", "KL(base ‖ model), nats per token"),
    Curve("penalty", "Penalty", "weighted cost of drift, nats", trained=True),
)
ACCURACIES = (
    Curve("source_accuracy", "Source accuracy", "mean over sources, percent", share=True),
    Curve("target_accuracy", "Target accuracy", "percent", share=True),
)


def curves(results: Results) -> list[Curve]:
    """Returns the plots of a study; those of an accuracy where a run measured it on its way, not at its end alone."""

    def on_the_way(curve: Curve) -> bool:
        return any(sum(step > 0 for step, _ in points(run, curve)) > 1 for run in results.runs)

    return [*CURVES, *filter(on_the_way, ACCURACIES)]


def points(run: Run, curve: Curve) -> list[Point]:
    """Returns the (step, value) pairs of a run in a plot, thinned to what a screen can show."""
    rows = run.train if curve.trained else run.points
    scale = 100.0 if curve.share else 1.0
    pairs = [(float(row.step), scale * value) for row in rows if (value := getattr(row, curve.key)) is not None]
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
