"""The picture of the curves over steps: a line a label, with a band from the lowest to the highest of its seeds."""

from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from lalora.report.look import Look, looks
from lalora.report.pictures import MARKERS, QUIET, STYLE, Picture, framed, legend, remark, saved
from lalora.report.schema import Results
from lalora.report.seeds import Seeds, band, by_label, several
from lalora.report.series import Panel, panels, points, smooth


def curves(results: Results) -> Picture:
    """Returns the curves over steps, one panel a quantity."""
    shown = panels(results)
    columns = -(-len(shown) // 2)
    with rc_context(STYLE):
        figure = framed(4 * columns, 6.6)
        grid: Any = figure.subplots(2, columns)
        appearance = looks(results)
        for axes, panel in zip(grid.flat, shown, strict=False):
            _panel(axes, panel, results, appearance)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        if several(results):
            remark(figure, "Lines: mean over seeds; bands: from the lowest to the highest seed.")
        legend(figure, [grid.flat[1]], 190 * columns // 3)
        return saved(figure)


def _panel(axes: Axes, panel: Panel, results: Results, appearance: list[Look]) -> None:
    for seeds in by_label(results):
        _line(axes, panel, results, seeds, appearance[seeds.first])
    axes.set_title(panel.title)
    axes.set_ylabel(panel.axis, fontsize=8.5)
    axes.set_xlabel("optimizer step", fontsize=8.5)
    if not axes.has_data():
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)


def _line(axes: Axes, panel: Panel, results: Results, seeds: Seeds, look: Look) -> None:
    raw = [points(results.runs[run], panel) for run in seeds.runs]
    found = band([smooth(curve) for curve in raw] if panel.noisy else raw)
    if not found:
        return
    xs = [step for step, _ in found]
    if len(seeds.runs) > 1:
        lows, highs = [at.low for _, at in found], [at.high for _, at in found]
        axes.fill_between(xs, lows, highs, color=look.light, alpha=0.18, linewidth=0)
    elif panel.noisy:
        axes.plot(*zip(*raw[0], strict=True), color=look.light, linewidth=0.8, alpha=0.3)
    ys = [at.mean for _, at in found]
    style: dict[str, Any] = {"color": look.light, "dashes": look.dash or (None, None)}
    if panel.trained:
        axes.plot(xs, ys, linewidth=1.8, **style)
    else:
        axes.plot(xs, ys, MARKERS[look.shape], linestyle="-", markersize=5, label=seeds.label, **style)
