"""The curves over steps: a line a label, with a band of ± one standard deviation over its seeds."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lalora.report.findings import Findings
from lalora.report.lines import opacity_of_bands
from lalora.report.look import MARKERS, QUIET
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend, remark
from lalora.report.seeds import Spread, band
from lalora.report.series import Curve, curves, points, smooth
from lalora.results.pareto import Point


class CurvesPanel(Panel):
    """One plot a quantity."""

    name = "curves"
    title = "Over the steps"
    template = "curves.html"
    scripts = ("curves.js",)

    def __init__(self, findings: Findings) -> None:
        """Reads the curves of all runs, and of each label the mean and deviation over its seeds."""
        super().__init__(findings)
        self.curves = curves(findings.results)
        raw = {curve: [points(run, curve) for run in findings.results.runs] for curve in self.curves}
        smoothed = {curve: [smooth(one) for one in of] for curve, of in raw.items() if curve.noisy}
        self.raw = raw
        self.bands = {curve: self._bands(of) for curve, of in raw.items()}
        self.smooth = {curve: self._bands(of) for curve, of in smoothed.items()}

    def figure(self) -> Figure:
        """Returns the picture, one panel a quantity."""
        columns = -(-len(self.curves) // 2)
        figure = framed(4 * columns, 6.6)
        grid: Any = figure.subplots(2, columns)
        for axes, curve in zip(grid.flat, self.curves, strict=False):
            self._draw(axes, curve)
        for axes in grid.flat[len(self.curves) :]:
            axes.set_visible(False)
        if self.findings.several:
            remark(figure, "Lines: mean over seeds; bands: ± one standard deviation.")
        legend(figure, [grid.flat[1]], 190 * columns // 3)
        return figure

    def plots(self) -> dict[str, Any]:
        """Returns the quantities, and by quantity the curves of each label."""
        return {
            "panels": [
                {
                    "title": curve.title,
                    "axis": curve.axis,
                    "noisy": curve.noisy,
                    "marked": not curve.trained,
                    "share": curve.share,
                    "curves": [_values(found) for found in self.bands[curve]],
                    "smooth": [_values(found) for found in self.smooth.get(curve, [])],
                }
                for curve in self.curves
            ]
        }

    def _bands(self, runs: Sequence[list[Point]]) -> list[list[tuple[float, Spread]]]:
        return [band([runs[run] for run in seeds.runs]) for seeds in self.findings.seeds]

    def _draw(self, axes: Axes, curve: Curve) -> None:
        for place in range(len(self.findings.seeds)):
            self._line(axes, curve, place)
        axes.set_title(curve.title)
        axes.set_ylabel(curve.axis, fontsize=8.5)
        axes.set_xlabel("optimizer step", fontsize=8.5)
        if not axes.has_data():
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)

    def _line(self, axes: Axes, curve: Curve, place: int) -> None:
        seeds = self.findings.seeds[place]
        look = self.findings.looks[seeds.first]
        found = (self.smooth if curve.noisy else self.bands)[curve][place]
        if not found:
            return
        xs = [step for step, _ in found]
        if len(seeds.runs) > 1:
            opacity = opacity_of_bands(len(self.findings.seeds))
            lows, highs = [at.low for _, at in found], [at.high for _, at in found]
            axes.fill_between(xs, lows, highs, color=look.light, alpha=opacity, linewidth=0)
        elif curve.noisy:
            axes.plot(*zip(*self.raw[curve][seeds.first], strict=True), color=look.light, linewidth=0.8, alpha=0.3)
        ys = [at.mean for _, at in found]
        style: dict[str, Any] = {"color": look.light, "dashes": look.dash or (None, None)}
        if curve.trained:
            axes.plot(xs, ys, linewidth=1.8, **style)
        else:
            axes.plot(xs, ys, MARKERS[look.shape], linestyle="-", markersize=5, label=seeds.label, **style)


def _values(found: list[tuple[float, Spread]]) -> list[list[float]]:
    return [[step, at.mean, at.low, at.high] for step, at in found]
