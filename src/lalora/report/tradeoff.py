"""The trade-off as a picture: what was learned against what was forgotten."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from matplotlib import rc_context
from matplotlib.axes import Axes

from lalora.methods import METHODS
from lalora.report.look import looks
from lalora.report.pictures import INK, MARKERS, QUIET, STYLE, Picture, framed, legend, saved
from lalora.report.schema import Evaluation, Number, Results, Run
from lalora.report.summary import difference

Pair = tuple[float, float]
Drift = Callable[[Evaluation], Number]


def tradeoff(results: Results) -> Picture:
    """Returns the trade-off: learning to the right, forgetting (KL) upwards, on source and on held-out text."""
    drifts: dict[str, Drift] = {"source text": lambda row: row.source_kl}
    if any(row.heldout_kl is not None for run in results.runs for row in run.points):
        drifts["held-out text"] = lambda row: row.heldout_kl
    with rc_context(STYLE):
        figure = framed(6.5 * len(drifts), 5.2)
        panels = figure.subplots(1, len(drifts), squeeze=False)[0]
        for axes, (where, drift) in zip(panels, drifts.items(), strict=True):
            _panel(axes, results, drift)
            axes.set_title(f"{results.name}: forgetting on {where}", pad=12)
            axes.set_xlabel("learning: fall of the target loss, nats per token →")
            axes.set_ylabel(f"KL(base ‖ model) on {where}, nats per token →")
        panels[-1].annotate(
            "better ↘",
            xy=(1, 0),
            xycoords="axes fraction",
            xytext=(0, -31),
            textcoords="offset points",
            ha="right",
            color=QUIET,
            style="italic",
        )
        legend(figure, panels[0], 85 * len(drifts))
        return saved(figure)


def _panel(axes: Axes, results: Results, drift: Drift) -> None:
    ends: dict[str, list[tuple[float, Pair, str]]] = defaultdict(list)
    paths = any(len(run.points) > 2 for run in results.runs)
    for run, look in zip(results.runs, looks(results), strict=True):
        pairs = _pairs(results, run.points, drift)
        if not pairs:
            continue
        shrunk = _pairs(results, run.scaled, drift)
        if shrunk:
            # Thin: what the same adapter gives when it is scaled after training; more of it is learned as it grows.
            axes.plot(*zip(*sorted([*shrunk, pairs[-1]]), strict=True), color=look.light, linewidth=0.6, alpha=0.7)
        xs, ys = zip(*pairs, strict=True)
        if paths:
            axes.plot(xs, ys, color=look.light, linewidth=1.2, dashes=look.dash or (None, None), alpha=0.8)
            axes.plot(xs[:-1], ys[:-1], MARKERS[look.shape], color=look.light, markersize=4)
        if not _pairs(results, run.points[-1:], drift):
            continue  # its end was not measured
        axes.plot(
            xs[-1:], ys[-1:], MARKERS[look.shape], color=look.light, markersize=10 * look.size,
            markeredgecolor="white", label=run.label, zorder=5,
        )  # fmt: skip
        ends[_line(run)].append((float(run.settings.get(_knob(run), 0.0)), pairs[-1], look.light))
    if not paths:
        # Where runs were not measured on their way, a line joins the runs that differ in their knob alone.
        for line in ends.values():
            ordered = sorted(line)
            xs, ys = zip(*(pair for _, pair, _ in ordered), strict=True)
            axes.plot(xs, ys, color=ordered[-1][2], linewidth=1.0, alpha=0.6)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    if paths:
        axes.plot([0], [0], marker="P", markersize=9, color=INK, linestyle="none", label="Base model", zorder=4)


def _pairs(results: Results, rows: Iterable[Evaluation], drift: Drift) -> list[Pair]:
    found = []
    for row in rows:
        gain, forgotten = difference(results.base.target_loss, row.target_loss), drift(row)
        if gain is not None and forgotten is not None:
            found.append((gain, forgotten))
    return found


def _line(run: Run) -> str:
    """Returns what runs share that differ in their method's knob alone."""
    return f"{run.method} {sorted((key, str(value)) for key, value in run.settings.items() if key != _knob(run))}"


def _knob(run: Run) -> str:
    return METHODS[run.method].knob if run.method in METHODS else "strength"
