"""The trade-off as a picture: what was learned against what was forgotten."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lalora.report.findings import Findings
from lalora.report.look import INK, MARKERS, QUIET, Look
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend, remark
from lalora.report.seeds import Seeds, Spread
from lalora.report.trajectories import VIEWS, Stop, View
from lalora.results.pareto import Point
from lalora.results.schema import Results
from lalora.results.select import grid_of

_REMARK = "Large marks: mean over seeds, bars of ± one standard deviation; pale marks: single seeds."


class TradeoffPanel(Panel):
    """The trade-off on source text, and as far as measured on held-out text and by accuracy.

    Learning goes to the right; forgetting (KL) goes upwards, but where accuracies are compared what was kept does.
    """

    name = "tradeoff"
    title = "The trade-off"
    template = "tradeoff.html"
    scripts = ("tradeoff.js",)

    def figure(self) -> Figure:
        """Returns the picture, side by side every view that was measured."""
        findings = self.findings
        names = ["source_kl"]
        if any(row.heldout_kl is not None for run in findings.results.runs for row in run.points):
            names.append("heldout_kl")
        if findings.with_accuracies:
            names.append("accuracy")
        figure = framed(6.5 * len(names), 5.2)
        every = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(every, names, strict=True):
            _draw(axes, findings, VIEWS[name])
            _titles(axes, findings.results, name)
        if findings.several:
            remark(figure, _REMARK)
        legend(figure, every, 85 * len(names))
        return figure

    def plots(self) -> dict[str, Any]:
        """Returns the base model, the views with their fronts, and the published marks."""
        return {
            "base": self.findings.base,
            "views": {
                name: {"x": view.x, "y": view.y, "up": view.up, "fronts": self.findings.fronts[name]}
                for name, view in VIEWS.items()
            },
            "published": [one.model_dump() for one in self.findings.results.published],
        }


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


def _draw(axes: Axes, findings: Findings, view: View) -> None:
    ends: dict[str, list[tuple[float, Point, str]]] = defaultdict(list)
    on_the_way = any(len(run.points) > 2 for run in findings.results.runs)
    for place, seeds in enumerate(findings.seeds):
        at = _label(axes, findings, place, view, on_the_way)
        if at is not None:
            run = findings.results.runs[seeds.first]
            knob = run.settings.get(findings.results.names_of(run.method).knob, 0.0)
            ends[grid_of(run, findings.results)].append((float(knob), at, findings.looks[seeds.first].light))
    if not on_the_way:
        # Where runs were not measured on their way, a line joins the runs that differ in their knob alone.
        for joined in ends.values():
            ordered = sorted(joined)
            axes.plot(
                *zip(*(pair for _, pair, _ in ordered), strict=True), color=ordered[-1][2], linewidth=1.0, alpha=0.6
            )
    _fronts(axes, findings, view)
    if view.up:
        _published(axes, findings)
    else:
        axes.axhline(0, color=QUIET, linewidth=0.8)
    x, y = findings.base[view.x], findings.base[view.y]
    if view.up and x is not None and y is not None:
        _base(axes, (100 * x, 100 * y))
    elif on_the_way and not view.up:
        _base(axes, (0.0, 0.0))


def _label(axes: Axes, findings: Findings, place: int, view: View, on_the_way: bool) -> Point | None:
    """Draws the runs of a label, and returns where they end, None where that was not measured."""
    seeds, look = findings.seeds[place], findings.looks[findings.seeds[place].first]
    path = _means(findings.paths[place], view)
    if not path:
        return None
    scale = _scale(view)
    xs, ys = zip(*path, strict=True)
    _seeds(axes, findings, seeds, view, look)
    if shrunk := _means(findings.scaled[place], view):
        # Thin: what the same adapter gives when it is scaled after training; more of it is learned as it grows.
        line = sorted([*shrunk, path[-1]])
        axes.plot(*zip(*line, strict=True), color=look.light, linewidth=0.6, alpha=0.7)
    if soft := _means(findings.softened[place], view):
        axes.plot(*zip(*soft, strict=True), ".-", color=look.light, linewidth=1.0, markersize=5, alpha=0.9)
    if on_the_way:
        axes.plot(xs, ys, color=look.light, linewidth=1.2, dashes=look.dash or (None, None), alpha=0.8)
        axes.plot(xs[:-1], ys[:-1], MARKERS[look.shape], color=look.light, markersize=4)
    end = findings.end(place, view)
    if not end:
        return None
    if len(seeds.runs) > 1:
        bars = [_bar(spread, scale) for spread in end]
        axes.errorbar(
            xs[-1], ys[-1], xerr=bars[0], yerr=bars[1], fmt="none", ecolor=look.light, elinewidth=1, capsize=2
        )
    axes.plot(
        xs[-1:], ys[-1:], MARKERS[look.shape], color=look.light, markersize=10 * look.size,
        markeredgecolor="white", label=seeds.label, zorder=5,
    )  # fmt: skip
    return path[-1]


def _means(stops: Sequence[Stop], view: View) -> list[Point]:
    scale = _scale(view)
    return [(scale * at[0].mean, scale * at[1].mean) for stop in stops if (at := stop.at(view))]


def _scale(view: View) -> float:
    return 100.0 if view.up else 1.0


def _fronts(axes: Axes, findings: Findings, view: View) -> None:
    name = next(name for name, one in VIEWS.items() if one == view)
    scale = _scale(view)
    for front in findings.fronts[name]:
        ends = [at for place in front if (at := findings.end(place, view))]
        colour = findings.looks[findings.seeds[front[-1]].first].light
        xs, ys = [scale * x.mean for x, _ in ends], [scale * y.mean for _, y in ends]
        axes.step(xs, ys, where="pre", color=colour, linewidth=0.9, linestyle=":")


def _seeds(axes: Axes, findings: Findings, seeds: Seeds, view: View, look: Look) -> None:
    if len(seeds.runs) == 1:
        return
    scale = _scale(view)
    for run in seeds.runs:
        for last in list(findings.trajectories[run].values())[-1:]:
            if (x := last[view.x]) is not None and (y := last[view.y]) is not None:
                axes.plot(
                    [scale * x], [scale * y], MARKERS[look.shape], color=look.light, markersize=4, alpha=0.4,
                    markeredgewidth=0,
                )  # fmt: skip


def _published(axes: Axes, findings: Findings) -> None:
    first = {seeds.label: seeds.first for seeds in findings.seeds}
    for one in findings.results.published:
        if one.run not in first:
            continue
        look = findings.looks[first[one.run]]
        axes.errorbar(
            100 * one.target_accuracy, 100 * one.source_accuracy, xerr=100 * (one.target_spread or 0.0),
            yerr=100 * (one.source_spread or 0.0), fmt=MARKERS[look.shape], color=look.light, markersize=9 * look.size,
            markerfacecolor="white", markeredgewidth=1.4, elinewidth=0.8, zorder=4,
        )  # fmt: skip


def _base(axes: Axes, at: Point) -> None:
    axes.plot([at[0]], [at[1]], marker="P", markersize=9, color=INK, linestyle="none", label="Base model", zorder=4)


def _bar(spread: Spread, scale: float) -> list[list[float]]:
    return [[scale * (spread.mean - spread.low)], [scale * (spread.high - spread.mean)]]
