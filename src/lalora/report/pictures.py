"""The two PNG pictures: the trade-off, and the curves over steps."""

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lalora.report.look import Look, looks
from lalora.report.schema import Results
from lalora.report.series import PANELS, Panel, points, smooth
from lalora.report.summary import difference

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


def tradeoff(results: Results) -> bytes:
    """Returns the trade-off as PNG: learning to the right, forgetting (KL on source) upwards."""
    with rc_context(STYLE):
        figure = framed(8, 5.2)
        axes = figure.add_subplot()
        for run, look in zip(results.runs, looks(results), strict=True):
            pairs = [
                (gain, row.source_kl)
                for row in run.points
                if (gain := difference(results.base.target_loss, row.target_loss)) is not None
                and row.source_kl is not None
            ]
            if pairs:
                _path(axes, pairs, look, run.label)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.plot([0], [0], marker="P", markersize=9, color=INK, linestyle="none", label="Base model", zorder=4)
        axes.set_title(f"{results.name}: learning against forgetting", pad=12)
        axes.set_xlabel("learning: fall of the target loss, nats per token →")
        axes.set_ylabel("forgetting: KL(base ‖ model) on source text,\nnats per token →")
        axes.annotate(
            "better ↘",
            xy=(1, 0),
            xycoords="axes fraction",
            xytext=(0, -31),
            textcoords="offset points",
            ha="right",
            color=QUIET,
            style="italic",
        )
        _legend(figure, axes, columns=4)
        return png(figure)


def curves(results: Results) -> bytes:
    """Returns the curves over steps as PNG, one panel a quantity."""
    with rc_context(STYLE):
        figure = framed(12, 6.6)
        grid: Any = figure.subplots(2, 3)
        appearance = looks(results)
        for axes, panel in zip(grid.flat, PANELS, strict=True):
            _panel(axes, panel, results, appearance)
        _legend(figure, grid.flat[1], columns=5)
        return png(figure)


def framed(width: float, height: float) -> Figure:
    """Returns an empty figure of so many inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Puts the legend below, a name once however many seeds share it; the figure grows where it needs many rows."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    if not once:
        return
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=min(columns, len(once)))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * (-(-len(once) // columns) - 1))


def _path(axes: Axes, pairs: list[tuple[float, float]], look: Look, name: str) -> None:
    xs, ys = zip(*pairs, strict=True)
    axes.plot(xs, ys, color=look.light, linewidth=1.2, dashes=look.dash or (None, None), alpha=0.8)
    axes.plot(xs[:-1], ys[:-1], MARKERS[look.shape], color=look.light, markersize=4)
    axes.plot(
        xs[-1:], ys[-1:], MARKERS[look.shape], color=look.light, markersize=10 * look.size,
        markeredgecolor="white", label=name, zorder=5,
    )  # fmt: skip


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


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()
