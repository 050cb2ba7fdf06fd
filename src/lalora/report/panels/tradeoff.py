"""The trade-off as a picture: what was learned against what was forgotten."""

from collections import defaultdict
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lalora.report.clipped import Far, clip
from lalora.report.fences import RULE
from lalora.report.findings import Findings
from lalora.report.lines import in_text
from lalora.report.look import INK, LIGHT_PAGE, MARKERS, QUIET, Look
from lalora.report.marks import Mark, ends, scale_of
from lalora.report.panels.each_seed import axis_titles, base_far, base_mark, scaled_fences
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend, remark
from lalora.report.seeds import Spread
from lalora.report.trajectories import VIEWS, Stop, View
from lalora.results.pareto import Point
from lalora.results.schema import Results
from lalora.results.select import grid_of

_SEVERAL = (
    "Large marks: means over seeds, bars: ± one standard deviation. Pale marks: single seeds, joined to their mean."
)
_HOLLOW = "Hollow marks: as published, with the same bars; grey where the setting was not run here."


_NOT_RUN = Look(shape="circle", light=QUIET, dark=QUIET, dash=(), size=0.8)


class TradeoffPanel(Panel):
    """The trade-off on source text, and as far as measured on held-out text and by accuracy.

    Learning goes to the right; forgetting (KL) goes upwards, but where accuracies are compared what was kept does. The
    paper has these axes the other way round; here learning stays on the same axis in every view.
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
        several = _SEVERAL if findings.several else ""
        beyond = RULE if any(findings.fences(VIEWS[name]) != (None, None) for name in names) else ""
        hollow = _HOLLOW if "accuracy" in names and findings.results.published else ""
        if told := " ".join(filter(None, [several, hollow, beyond])):
            remark(figure, fill(told, 95 * len(names)))
        legend(figure, every, 85 * len(names))
        return figure

    def plots(self) -> dict[str, Any]:
        """Returns the base model, the views with their fronts, and the published marks."""
        return {
            "base": self.findings.base,
            "views": {
                name: {
                    "x": view.x,
                    "y": view.y,
                    "up": view.up,
                    "fronts": self.findings.fronts[name],
                    "pareto": self.findings.pareto_fronts[name],
                    "fences": self.findings.fences(view),
                }
                for name, view in VIEWS.items()
            },
            "published": [one.model_dump() for one in self.findings.results.published],
        }


def _titles(axes: Axes, results: Results, name: str) -> None:
    if name == "accuracy":
        axes.set_title(f"{results.name}: accuracy", pad=12)
    else:
        where = {"source_kl": "source text", "heldout_kl": "held-out text"}[name]
        axes.set_title(f"{results.name}: forgetting on {where}", pad=12)
    across, up = axis_titles(VIEWS[name])
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    if name == "accuracy":
        axes.annotate("better ↗", xy=(1, 1), xytext=(0, 4), color=QUIET, style="italic", **place)
    else:
        axes.annotate("better ↘", xy=(1, 0), xytext=(0, -31), color=QUIET, style="italic", **place)


def _draw(axes: Axes, findings: Findings, view: View) -> None:
    of_grids: dict[str, list[tuple[float, Point, str]]] = defaultdict(list)
    measured = any(len(run.points) > 2 for run in findings.results.runs)
    on_the_way = measured and not findings.is_crowded
    far = base_far(findings, view)
    for place, seeds in enumerate(findings.seeds):
        at = _label(axes, findings, place, view, on_the_way)
        if at is not None:
            far.append(Far(at, in_text(seeds.label), findings.looks[seeds.first].light))
            if len(seeds.runs) > 1:
                of_seeds = ends(findings, seeds.runs, view)
                far += [Far(mark.at, "", findings.looks[seeds.first].light) for mark in of_seeds]
            run = findings.results.runs[seeds.first]
            knob = run.settings.get(findings.results.names_of(run.method).knob, 0.0)
            of_grids[grid_of(run, findings.results)].append((float(knob), at, findings.looks[seeds.first].light))
    if not measured:
        # Where runs were not measured on their way, a line joins the runs that differ in their knob alone.
        for joined in of_grids.values():
            ordered = sorted(joined)
            axes.plot(
                *zip(*(pair for _, pair, _ in ordered), strict=True), color=ordered[-1][2], linewidth=1.0, alpha=0.6
            )
    _fronts(axes, findings, view)
    if view.up:
        _published(axes, findings)
    else:
        axes.axhline(0, color=QUIET, linewidth=0.8)
    base = base_mark(findings, view)
    if base is not None and (view.up or measured):
        axes.plot(
            [base[0]], [base[1]], marker="P", markersize=9, color=INK, linestyle="none", label="Base model", zorder=4
        )
    clip(scaled_fences(findings, view), [(axes, far)])


def _label(axes: Axes, findings: Findings, place: int, view: View, on_the_way: bool) -> Point | None:
    """Draws the runs of a label, and returns where they end, None where that was not measured."""
    seeds, look = findings.seeds[place], findings.looks[findings.seeds[place].first]
    path = _means(findings.paths[place], view)
    if not path:
        return None
    scale = scale_of(view)
    xs, ys = zip(*path, strict=True)
    if len(seeds.runs) > 1:
        _seeds(axes, ends(findings, seeds.runs, view), path[-1], look)
    shrunk = [] if findings.is_crowded else _means(findings.scaled[place], view)
    if shrunk:
        # Thin: what the same adapter gives when it is scaled after training; more of it is learned as it grows.
        line = sorted([*shrunk, path[-1]])
        axes.plot(*zip(*line, strict=True), color=look.light, linewidth=0.6, alpha=0.7)
    if soft := _means(findings.softened[place], view):
        axes.plot(*zip(*soft, strict=True), ".-", color=look.light, linewidth=1.0, markersize=5, alpha=0.9)
    _after(axes, findings, place, view, path[-1])
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


def _after(axes: Axes, findings: Findings, place: int, view: View, end: Point) -> None:
    """Draws what each rival makes of an adapter, from where it ended."""
    told = set(axes.get_legend_handles_labels()[1])
    for name, versions in findings.after[place].items():
        look, label = findings.rival_looks[name], in_text(findings.results.rival(name).label)
        if line := _means([version.stop for version in versions], view):
            axes.plot(
                *zip(end, *line, strict=True), f"{MARKERS[look.shape]}-", color=look.light, linewidth=0.8,
                markersize=8 * look.size, markevery=slice(1, None), alpha=0.9, label=None if label in told else label,
            )  # fmt: skip


def _means(stops: Sequence[Stop], view: View) -> list[Point]:
    scale = scale_of(view)
    return [(scale * at[0].mean, scale * at[1].mean) for stop in stops if (at := stop.at(view))]


def _fronts(axes: Axes, findings: Findings, view: View) -> None:
    name = next(name for name, one in VIEWS.items() if one == view)
    scale = scale_of(view)
    for front in findings.fronts[name]:
        corners = [at for place in front if (at := findings.end(place, view))]
        colour = findings.looks[findings.seeds[front[-1]].first].light
        xs, ys = [scale * x.mean for x, _ in corners], [scale * y.mean for _, y in corners]
        axes.step(xs, ys, where="pre", color=colour, linewidth=0.9, linestyle=":")


def _seeds(axes: Axes, marks: Sequence[Mark], mean: Point, look: Look) -> None:
    """Draws single seeds, each joined to the mean of its label."""
    for x, y in (mark.at for mark in marks):
        axes.plot([x, mean[0]], [y, mean[1]], color=look.light, linewidth=0.7, alpha=0.45)
        axes.plot([x], [y], MARKERS[look.shape], color=look.light, markersize=4, alpha=0.4, markeredgewidth=0)


def _published(axes: Axes, findings: Findings) -> None:
    """Draws hollow marks at what was published: in the look of the setting that was run, else grey with its name."""
    first = {seeds.label: seeds.first for seeds in findings.seeds}
    not_run = [one for one in findings.results.published if one.run not in first]
    for one in findings.results.published:
        look = findings.looks[first[one.run]] if one.run in first else _NOT_RUN
        axes.errorbar(
            100 * one.target_accuracy, 100 * one.source_accuracy, xerr=100 * (one.target_spread or 0.0),
            yerr=100 * (one.source_spread or 0.0), fmt=MARKERS[look.shape], color=look.light, markersize=9 * look.size,
            markerfacecolor="white", markeredgewidth=1.4, elinewidth=0.8, zorder=4,
            label="As published, not run here" if one in not_run[:1] else None,
        )  # fmt: skip
    for place, one in enumerate(sorted(not_run, key=lambda one: one.source_accuracy)):
        # To the right and to the left in turn, so that names of neighbours keep clear of each other.
        right = place % 2 == 0
        axes.annotate(
            one.run, (100 * one.target_accuracy, 100 * one.source_accuracy), (6 if right else -6, 4),
            textcoords="offset points", ha="left" if right else "right", fontsize=7, color=QUIET, zorder=6,
            path_effects=[withStroke(linewidth=2, foreground=LIGHT_PAGE)],
        )  # fmt: skip


def _bar(spread: Spread, scale: float) -> list[list[float]]:
    return [[scale * (spread.mean - spread.low)], [scale * (spread.high - spread.mean)]]
