"""The trade-off as a picture: what was learned against what was forgotten."""

from collections import defaultdict
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

from lalora.methods.catalogue import knob_of
from lalora.report.look import Look, looks
from lalora.report.paths import VIEWS, Pair, View, end, fronts, measures, path, scaled, softened, with_accuracies
from lalora.report.pictures import INK, MARKERS, QUIET, STYLE, Picture, framed, legend, remark, saved
from lalora.report.schema import Results, Run
from lalora.report.seeds import Seeds, Spread, by_label, several

_REMARK = "Large marks: mean over seeds, bars from the lowest to the highest; pale marks: single seeds."


def tradeoff(results: Results) -> Picture:
    """Returns the trade-off on source text, and as far as measured on held-out text and by accuracy.

    Learning goes to the right; forgetting (KL) goes upwards, but where accuracies are compared what was kept does.
    """
    names = ["source_kl"]
    if any(row.heldout_kl is not None for run in results.runs for row in run.points):
        names.append("heldout_kl")
    if with_accuracies(results):
        names.append("accuracy")
    with rc_context(STYLE):
        figure = framed(6.5 * len(names), 5.2)
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, results, VIEWS[name])
            _titles(axes, results, name)
        if several(results):
            remark(figure, _REMARK)
        legend(figure, panels, 85 * len(names))
        return saved(figure)


def _titles(axes: Axes, results: Results, name: str) -> None:
    if name == "accuracy":
        published = "; hollow: as published" if results.published else ""
        axes.set_title(f"{results.name}: accuracy{published}", pad=12)
        axes.set_xlabel("target accuracy, % →")
        axes.set_ylabel("source accuracy, mean over sources, % →")
    else:
        where = {"source_kl": "source text", "heldout_kl": "held-out text"}[name]
        axes.set_title(f"{results.name}: forgetting on {where}", pad=12)
        axes.set_xlabel("learning: fall of the target loss, nats per token →")
        axes.set_ylabel(f"KL(base ‖ model) on {where}, nats per token →")
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    if name == "accuracy":
        axes.annotate("better ↗", xy=(1, 1), xytext=(0, 4), color=QUIET, style="italic", **place)
    else:
        axes.annotate("better ↘", xy=(1, 0), xytext=(0, -31), color=QUIET, style="italic", **place)


def _panel(axes: Axes, results: Results, view: View) -> None:
    scale = 100.0 if view.up else 1.0
    appearance = looks(results)
    ends: dict[str, list[tuple[float, Pair, str]]] = defaultdict(list)
    on_the_way = any(len(run.points) > 2 for run in results.runs)
    labels = by_label(results)
    for seeds in labels:
        look = appearance[seeds.first]
        stops = [at for stop in path(results, seeds) if (at := stop.at(view))]
        if not stops:
            continue
        xs, ys = [scale * x.mean for x, _ in stops], [scale * y.mean for _, y in stops]
        _seeds(axes, results, seeds, view, look, scale)
        shrunk = [at for stop in scaled(results, seeds) if (at := stop.at(view))]
        if shrunk:
            # Thin: what the same adapter gives when it is scaled after training; more of it is learned as it grows.
            line = sorted((scale * x.mean, scale * y.mean) for x, y in [*shrunk, stops[-1]])
            axes.plot(*zip(*line, strict=True), color=look.light, linewidth=0.6, alpha=0.7)
        if soft := [
            (scale * at[0].mean, scale * at[1].mean) for stop in softened(results, seeds) if (at := stop.at(view))
        ]:
            axes.plot(*zip(*soft, strict=True), ".-", color=look.light, linewidth=1.0, markersize=5, alpha=0.9)
        if on_the_way:
            axes.plot(xs, ys, color=look.light, linewidth=1.2, dashes=look.dash or (None, None), alpha=0.8)
            axes.plot(xs[:-1], ys[:-1], MARKERS[look.shape], color=look.light, markersize=4)
        if not end(results, seeds, view):
            continue  # its end was not measured
        if len(seeds.runs) > 1:
            bars = [_bar(spread, scale) for spread in stops[-1]]
            axes.errorbar(
                xs[-1], ys[-1], xerr=bars[0], yerr=bars[1], fmt="none", ecolor=look.light, elinewidth=1, capsize=2
            )
        axes.plot(
            xs[-1:], ys[-1:], MARKERS[look.shape], color=look.light, markersize=10 * look.size,
            markeredgecolor="white", label=seeds.label, zorder=5,
        )  # fmt: skip
        run = results.runs[seeds.first]
        ends[_line(run)].append((float(run.settings.get(_knob(run), 0.0)), (xs[-1], ys[-1]), look.light))
    if not on_the_way:
        # Where runs were not measured on their way, a line joins the runs that differ in their knob alone.
        for joined in ends.values():
            ordered = sorted(joined)
            axes.plot(
                *zip(*(pair for _, pair, _ in ordered), strict=True), color=ordered[-1][2], linewidth=1.0, alpha=0.6
            )
    for front in fronts(results, view):
        found = [at for place in front if (at := end(results, labels[place], view))]
        colour = appearance[labels[front[-1]].first].light
        xs, ys = [scale * x.mean for x, _ in found], [scale * y.mean for _, y in found]
        axes.step(xs, ys, where="pre", color=colour, linewidth=0.9, linestyle=":")
    if view.up:
        _published(axes, results, appearance)
    else:
        axes.axhline(0, color=QUIET, linewidth=0.8)
    base = measures(results.base, results.base)
    x, y = base[view.x], base[view.y]
    if view.up and x is not None and y is not None:
        _base(axes, (scale * x, scale * y))
    elif on_the_way and not view.up:
        _base(axes, (0.0, 0.0))


def _seeds(axes: Axes, results: Results, seeds: Seeds, view: View, look: Look, scale: float) -> None:
    if len(seeds.runs) == 1:
        return
    for run in seeds.runs:
        for row in results.runs[run].points[-1:]:
            told = measures(results.base, row)
            if (x := told[view.x]) is not None and (y := told[view.y]) is not None:
                axes.plot(
                    [scale * x], [scale * y], MARKERS[look.shape], color=look.light, markersize=4, alpha=0.4,
                    markeredgewidth=0,
                )  # fmt: skip


def _published(axes: Axes, results: Results, appearance: list[Look]) -> None:
    first = {seeds.label: seeds.first for seeds in by_label(results)}
    for one in results.published:
        if one.run not in first:
            continue
        look = appearance[first[one.run]]
        axes.errorbar(
            100 * one.target_accuracy, 100 * one.source_accuracy, xerr=100 * (one.target_spread or 0.0),
            yerr=100 * (one.source_spread or 0.0), fmt=MARKERS[look.shape], color=look.light, markersize=9 * look.size,
            markerfacecolor="white", markeredgewidth=1.4, elinewidth=0.8, zorder=4,
        )  # fmt: skip


def _base(axes: Axes, at: Pair) -> None:
    axes.plot([at[0]], [at[1]], marker="P", markersize=9, color=INK, linestyle="none", label="Base model", zorder=4)


def _bar(spread: Spread, scale: float) -> list[list[float]]:
    return [[scale * (spread.mean - spread.low)], [scale * (spread.high - spread.mean)]]


def _line(run: Run) -> str:
    """Returns what runs share that differ in their method's knob alone."""
    told = (_knob(run), "seed")
    return f"{run.method} {sorted((key, str(value)) for key, value in run.settings.items() if key not in told)}"


def _knob(run: Run) -> str:
    return knob_of(run.method)
