"""The trade-off of each seed by itself: a small picture a seed, all with the same axes."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lalora.report.clipped import Far, clip
from lalora.report.fences import Fences
from lalora.report.findings import Findings
from lalora.report.inline import of_run
from lalora.report.look import INK, MARKERS
from lalora.report.marks import Mark, ends, scale_of
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend
from lalora.report.trajectories import VIEWS, View
from lalora.results.pareto import Point

_COLUMNS = 3


@dataclass(frozen=True)
class OfSeed:
    """The ends of the runs of one seed."""

    seed: int
    marks: list[Mark]


class EachSeedPanel(Panel):
    """Final accuracies, or learning and KL where none were measured; only where there are several seeds.

    As in the main picture, learning goes to the right and a larger, deeper mark has a stronger setting.
    """

    name = "each-seed"
    title = "Each seed by itself"
    prose = (
        "One mark a run, at its end; all plots have the same axes. Learning goes to the right, and as above a larger, "
        "deeper mark has a stronger setting."
    )
    alt = "A trade-off for each seed; the numbers stand in the table of results"

    def __init__(self, findings: Findings) -> None:
        """Gathers where the runs of each seed ended."""
        super().__init__(findings)
        self.view = VIEWS["accuracy" if findings.with_accuracies else "source_kl"]
        self.seeds = by_seed(findings, self.view) if findings.several else []

    @property
    def is_empty(self) -> bool:
        """Whether fewer than two seeds were measured."""
        return len(self.seeds) < 2

    def figure(self) -> Figure | None:
        """Returns the picture, one plot a seed, None where there is nothing to compare."""
        if self.is_empty:
            return None
        columns = min(_COLUMNS, len(self.seeds))
        rows = -(-len(self.seeds) // columns)
        figure = framed(4.0 * columns, 3.6 * rows + 0.6)
        grid: Any = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        every = list(grid.flat)
        across, up = axis_titles(self.view)
        base = base_far(self.findings, self.view)
        far = [(axes, [*self._far(of), *base]) for axes, of in zip(every, self.seeds, strict=False)]
        for place, (axes, of) in enumerate(zip(every, self.seeds, strict=False)):
            self._draw(axes, of)
            axes.tick_params(labelbottom=True, labelleft=True)
            axes.set_xlabel(across, fontsize=8.5)
            if place % columns == 0:
                axes.set_ylabel(up, fontsize=8.5)
        clip(scaled_fences(self.findings, self.view), far)
        for axes in every[len(self.seeds) :]:
            axes.set_visible(False)
        legend(figure, every, 52 * columns)
        return figure

    def _far(self, of: OfSeed) -> list[Far]:
        runs, looks = self.findings.results.runs, self.findings.looks
        return [Far(mark.at, runs[mark.run].label, looks[mark.run].light, of_run(mark.run)) for mark in of.marks]

    def _draw(self, axes: Axes, of: OfSeed) -> None:
        for mark in of.marks:
            look = self.findings.looks[mark.run]
            axes.plot(
                [mark.at[0]], [mark.at[1]], MARKERS[look.shape], color=look.light, markersize=8 * look.size,
                markeredgecolor="white", label=self.findings.results.runs[mark.run].label, gid=of_run(mark.run),
            )  # fmt: skip
        base = base_mark(self.findings, self.view)
        if base is not None:
            axes.plot([base[0]], [base[1]], "P", color=INK, markersize=8, label="Base model")
        axes.set_title(f"seed {of.seed}")


def by_seed(findings: Findings, view: View) -> list[OfSeed]:
    """Returns the runs of each seed whose end was measured, by growing seed."""
    runs = findings.results.runs
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    found = [
        OfSeed(seed, ends(findings, [k for k, run in enumerate(runs) if run.seed == seed], view)) for seed in seeds
    ]
    return [of for of in found if of.marks]


def base_mark(findings: Findings, view: View) -> Point | None:
    """Returns where the base model stands in a view, None where that was not measured."""
    x, y = findings.base[view.x], findings.base[view.y]
    if view.up:
        return None if x is None or y is None else (scale_of(view) * x, scale_of(view) * y)
    return (0.0, 0.0)


def base_far(findings: Findings, view: View) -> list[Far]:
    """Returns the base model as a mark that may lie beyond the axes."""
    base = base_mark(findings, view)
    return [] if base is None else [Far(base, "Base model", INK)]


def scaled_fences(findings: Findings, view: View) -> tuple[Fences | None, Fences | None]:
    """Returns the limits of the axes of a view in the units of its axes."""
    scale = scale_of(view)
    across, up = (
        None if limits is None else (scale * limits[0], scale * limits[1]) for limits in findings.fences(view)
    )
    return across, up


def axis_titles(view: View) -> tuple[str, str]:
    """Returns the titles of the axes of a view."""
    if view.up:
        return "target accuracy, % →", "source accuracy, mean over sources, % →"
    where = "held-out text" if view.y == "heldout_kl" else "source text"
    return "learning: fall of the target loss, nats per token →", f"KL(base ‖ model) on {where}, nats per token →"
