"""What each curvature predicted beside what was measured, wherever a study asked for predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lalora.report import formatting
from lalora.report.column import Column, Table
from lalora.report.findings import Findings
from lalora.report.look import CURVATURES, DASHES, MARKERS, OTHER_CURVATURE, QUIET
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed
from lalora.report.rows import difference, share


@dataclass(frozen=True)
class Prediction:
    """What was predicted of a run at one step after its start, and measured.

    Losses, KL and predictions in nats per token; `kl` by data set, `predicted` and `ratios` (measured KL on source text
    / predicted) by curvature.
    """

    run: int
    label: str
    step: int
    target_loss: float | None
    source_rise: float | None
    kl: dict[str, float | None]
    source_kl: float | None
    heldout_kl: float | None
    predicted: dict[str, float | None]
    ratios: dict[str, float | None]


class CalibrationPanel(Panel):
    """Curvatures fitted at the start of every run, against the drift that was measured."""

    name = "calibration"
    title = "What each curvature predicted"
    prose = (
        "Curvatures fitted once, at the start of every run, whatever the run penalised. On the thin line a prediction "
        "is exact; above it the model drifted more than was predicted."
    )
    fine = (
        "Losses, KL and predictions in nats per token; in brackets the measured KL on source text divided by the "
        "prediction."
    )
    alt = "Measured KL against the prediction of each curvature; the numbers stand in the tables below"

    def __init__(self, findings: Findings) -> None:
        """Gathers the predictions of all runs."""
        super().__init__(findings)
        self.predictions = predictions_of(findings)
        self.curvatures = list(dict.fromkeys(kind for one in self.predictions for kind in one.predicted))
        self.datasets = list(dict.fromkeys(name for one in self.predictions for name in one.kl))

    def tables(self) -> Sequence[Table]:
        """Returns what was measured and what was predicted, a row a step; none without predictions."""
        if not self.predictions:
            return []
        runs = {one.run: one.label for one in self.predictions}
        sections = [(label, [one for one in self.predictions if one.run == run]) for run, label in runs.items()]
        step = Column("step", "Step", lambda step: f"step {step}", "step", is_text=True)
        source = Column("source_kl", "KL source", formatting.scientific, "KL\nsource")
        measured = [
            step,
            Column("target_loss", "Target loss", formatting.nats, "target\nloss"),
            Column("source_rise", "Rise of source loss", formatting.change, "source\nrise"),
            *(_kl(name) for name in self.datasets),
            source,
        ]
        predicted = [step, source, *(_predicted(kind) for kind in self.curvatures)]
        return [
            Table(measured, sections, "Measured: KL(base ‖ model) by data set, nats per token"),
            Table(
                predicted,
                sections,
                "Predicted: ½ΔᵀΛΔ by curvature, nats per token; below it: measured KL on source / predicted",
            ),
        ]

    def figure(self) -> Figure | None:
        """Returns the picture: predicted to the right, measured upwards, a colour a curvature, a dash a run."""
        if not self.predictions:
            return None
        figure = framed(11, 5.6)
        grid: Any = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, key, title in zip(
            grid, ("source_kl", "heldout_kl"), ("On source text", "On held-out text"), strict=True
        ):
            self._draw(axes, key)
            axes.set_title(title)
            axes.set_xlabel("predicted: ½ΔᵀΛΔ, nats per token →")
        grid[0].set_ylabel("measured KL(base ‖ model), nats per token →")
        handles = [
            Line2D([], [], color=_look(kind)[0], marker=MARKERS[_look(kind)[1]], markersize=7, label=kind)
            for kind in self.curvatures
        ]
        runs = {one.run: one.label for one in self.predictions}
        handles += [
            Line2D([], [], color=QUIET, dashes=_dash(place), label=text) for place, text in enumerate(runs.values())
        ]
        handles.append(Line2D([], [], color=QUIET, linewidth=0.8, label="predicted = measured"))
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
        return figure

    def _draw(self, axes: Axes, key: str) -> None:
        axes.set(xscale="log", yscale="log")
        seen: list[float] = []
        for kind in self.curvatures:
            colour, shape, size = _look(kind)
            for place, run in enumerate(dict.fromkeys(one.run for one in self.predictions)):
                pairs = [
                    (predicted, measured)
                    for one in self.predictions
                    if one.run == run
                    and (predicted := one.predicted.get(kind)) is not None
                    and (measured := getattr(one, key)) is not None
                    and min(predicted, measured) > 0  # a logarithm has no zero
                ]
                if not pairs:
                    continue
                xs, ys = zip(*pairs, strict=True)
                seen += [*xs, *ys]
                axes.plot(xs, ys, color=colour, linewidth=1, dashes=_dash(place) or (None, None), alpha=0.6)
                fill, edge = (colour, "white") if key == "source_kl" else ("white", colour)
                style: dict[str, Any] = {"color": colour, "markerfacecolor": fill, "markeredgecolor": edge}
                axes.plot(xs, ys, MARKERS[shape], markersize=size, **style)
        if seen:
            axes.plot([min(seen), max(seen)], [min(seen), max(seen)], color=QUIET, linewidth=0.8, zorder=0)
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)


def predictions_of(findings: Findings) -> list[Prediction]:
    """Returns every prediction, run by run; none where the study asked for none."""
    base = findings.results.base
    return [
        Prediction(
            run=place,
            label=findings.labels[place],
            step=row.step,
            target_loss=row.target_loss,
            source_rise=difference(row.source_loss, base.source_loss),
            kl=row.kl,
            source_kl=row.source_kl,
            heldout_kl=row.heldout_kl,
            predicted=row.forecasts,
            ratios={kind: share(row.source_kl, predicted) for kind, predicted in row.forecasts.items()},
        )
        for place, run in enumerate(findings.results.runs)
        for row in run.points
        if row.step > 0 and row.forecasts
    ]


def _kl(name: str) -> Column:
    return Column(f"kl_{name}", f"KL {name}", formatting.scientific, f"KL\n{name}", lambda one: one.kl.get(name))


def _predicted(kind: str) -> Column:
    def write(pair: tuple[float | None, float | None]) -> str:
        # One above the other in the terminal, side by side on the page.
        return f"{formatting.scientific(pair[0])}\n({formatting.factor(pair[1])})"

    return Column(kind, kind, write, kind, lambda one: (one.predicted.get(kind), one.ratios.get(kind)))


def _look(kind: str) -> tuple[str, str, float]:
    return CURVATURES.get(kind, OTHER_CURVATURE)


def _dash(place: int) -> tuple[int, ...]:
    return DASHES[place % len(DASHES)]
