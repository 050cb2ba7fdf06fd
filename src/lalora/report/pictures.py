"""How pictures look, and the curves over steps."""

import io
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lalora.report.look import Look, looks
from lalora.report.schema import Results
from lalora.report.series import PANELS, Panel, points, smooth

INK, QUIET, GRID = "#1c2026", "#5b6472", "#e4e7eb"
MARKERS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "triangle": "^",
    "wedge": "v",
    "hexagon": "h",
    "star": "*",
}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure, for screens and for print."""

    png: bytes
    pdf: bytes


def curves(results: Results) -> Picture:
    """Returns the curves over steps, one panel a quantity."""
    with rc_context(STYLE):
        figure = framed(12, 6.6)
        grid: Any = figure.subplots(2, 3)
        appearance = looks(results)
        for axes, panel in zip(grid.flat, PANELS, strict=True):
            _panel(axes, panel, results, appearance)
        legend(figure, grid.flat[1], 190)
        return saved(figure)


def framed(width: float, height: float) -> Figure:
    """Returns an empty figure of so many inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def legend(figure: Figure, axes: Axes, letters: int) -> None:
    """Puts the legend below, a name once however many seeds share it; the figure grows where it needs many rows.

    Args:
        figure: The figure.
        axes: Its handles are shown.
        letters: How many fit side by side, a mark counting as eight.
    """
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    if not once:
        return
    columns = max(1, min(5, len(once), letters // (8 + max(map(len, once)))))
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * (-(-len(once) // columns) - 1))


def _panel(axes: Axes, panel: Panel, results: Results, appearance: list[Look]) -> None:
    for run, look in zip(results.runs, appearance, strict=True):
        curve = points(run, panel)
        if not curve:
            continue
        xs, ys = zip(*curve, strict=True)
        style: dict[str, Any] = {"color": look.light, "dashes": look.dash or (None, None)}
        if panel.noisy:
            axes.plot(xs, ys, color=look.light, linewidth=0.8, alpha=0.3)
            xs, ys = zip(*smooth(curve), strict=True)
        if panel.trained:
            axes.plot(xs, ys, linewidth=1.8, **style)
        else:
            axes.plot(xs, ys, MARKERS[look.shape], linestyle="-", markersize=5, label=run.label, **style)
    axes.set_title(panel.title)
    axes.set_ylabel(panel.axis, fontsize=8.5)
    axes.set_xlabel("optimizer step", fontsize=8.5)
    if not axes.has_data():
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=QUIET)


def saved(figure: Figure) -> Picture:
    """Returns a figure in both formats."""
    found = []
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
        found.append(buffer.getvalue())
    return Picture(*found)
