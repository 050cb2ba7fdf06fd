"""The curves of each data set by itself: sources, held-out texts, target (Fig. 17)."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lalora.report.findings import Findings
from lalora.report.inline import of_run
from lalora.report.lines import draw_line, in_text, opacity_of_bands
from lalora.report.look import MARKERS
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend, remark
from lalora.report.series import Curve, bands, on_the_way
from lalora.results.schema import Results

_LETTERS_AN_INCH = 16


class ByDataSetPanel(Panel):
    """One plot a data set, a line a label with its band over the seeds."""

    name = "by-data-set"
    title = "Each data set over the steps"
    prose = (
        "Accuracy where it was measured on the way; else KL(base ‖ model) on sources and held-out text, and the loss "
        "on the target."
    )
    alt = "One plot over the steps for each data set, a line a label"

    def __init__(self, findings: Findings) -> None:
        """Finds the data sets, and of each label the mean and deviation over its seeds."""
        super().__init__(findings)
        self.curves = data_set_curves(findings.results)
        self.bands = {curve: bands(findings.results, findings.seeds, curve) for curve in self.curves}

    @property
    def is_empty(self) -> bool:
        """Whether the plain curves say all there is."""
        return not self.curves

    def figure(self) -> Figure | None:
        """Returns the picture."""
        if not self.curves:
            return None
        columns = 2 if len(self.curves) <= 4 else 3
        lines = -(-len(self.curves) // columns)
        figure = framed(5 * columns, 3.3 * lines)
        grid: Any = figure.subplots(lines, columns, squeeze=False)
        for axes, curve in zip(grid.flat, self.curves, strict=False):
            self._draw(axes, curve)
        for axes in grid.flat[len(self.curves) :]:
            axes.set_visible(False)
        if self.findings.several:
            remark(figure, "Lines: mean over seeds; bands: ± one standard deviation.")
        legend(figure, grid.flat, _LETTERS_AN_INCH * 5 * columns)
        return figure

    def _draw(self, axes: Axes, curve: Curve) -> None:
        opacity = opacity_of_bands(len(self.findings.seeds))
        for seeds, found in zip(self.findings.seeds, self.bands[curve], strict=True):
            look = self.findings.looks[seeds.first]
            style: dict[str, Any] = {"marker": MARKERS[look.shape], "dashes": look.dash or (None, None)}
            draw_line(axes, found, look.light, seeds.label, opacity, of_run(seeds.first), markersize=5, **style)
        axes.set_title(in_text(curve.title))
        axes.set_ylabel(curve.axis, fontsize=8.5)
        axes.set_xlabel("optimizer step", fontsize=8.5)


def data_set_curves(results: Results) -> list[Curve]:
    """Returns a plot for each source, held-out text and target; none where the plain curves show the same.

    They do with one source and one held-out text at most, and where nothing was measured on the way.
    """
    rows = [results.base, *(row for run in results.runs for row in run.points)]
    drifting = dict.fromkeys(name for row in rows for name in row.kl)
    told = results.recipe.get("base")
    held_out = _names(told.get("held_out") if isinstance(told, Mapping) else None) & drifting.keys()
    sources = [name for name in drifting if name not in held_out]
    targets = dict.fromkeys(name for row in rows for name in (*row.loss, *row.accuracy) if name not in drifting)
    if len(sources) < 2 and len(held_out) < 2:
        return []
    curves = [
        *(_curve(results, name, "kl", name) for name in sources),
        *(_curve(results, name, "kl", f"{name} (held out)") for name in drifting if name in held_out),
        *(_curve(results, name, "loss", f"{name} (target)") for name in targets),
    ]
    return curves if any(on_the_way(results, curve) for curve in curves) else []


def _names(domains: Any) -> set[str]:
    return set(domains) if isinstance(domains, Mapping) else set()


def _curve(results: Results, name: str, else_key: str, title: str) -> Curve:
    accuracy = Curve("accuracy", title, "accuracy, percent", share=True, data_set=name)
    axis = {"kl": "KL(base ‖ model), nats per token", "loss": "loss on scored rows, nats per token"}[else_key]
    return accuracy if on_the_way(results, accuracy) else Curve(else_key, title, axis, data_set=name)
