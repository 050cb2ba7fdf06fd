"""How weights moved as a picture: start against end, and the sizes of their changes (paper, Fig. 14)."""

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lalora.report import formatting
from lalora.report.findings import Findings
from lalora.report.look import INK, QUIET
from lalora.report.pictures import framed
from lalora.results.schema import Results
from lalora.results.weight_changes import WeightChanges

ROWS = 4
"""The most runs that are drawn."""


def drawn_runs(results: Results) -> list[int]:
    """Returns the places of the runs that are drawn: the first seed of at most four settings.

    The first plain LoRA, then LaLoRA by growing strength, then other methods. Of more LaLoRA settings than there is
    room for, those are taken that lie evenly between the weakest and the strongest.
    """
    firsts: dict[str, int] = {}
    for place, run in enumerate(results.runs):
        if run.weight_changes is not None:
            firsts.setdefault(run.label, place)
    methods = {place: results.runs[place].method for place in firsts.values()}
    plain = [place for place, method in methods.items() if method == "lora"][:1]
    ours = sorted(
        (place for place, method in methods.items() if method == "lalora"),
        key=lambda place: results.runs[place].strength or 0.0,
    )
    others = [place for place, method in methods.items() if method not in ("lora", "lalora")]
    return [*plain, *_spread(ours, ROWS - len(plain)), *others][:ROWS]


def draw_changes(findings: Findings, places: Sequence[int]) -> Figure:
    """Returns the picture: a row for each of these runs, all rows with the same axes and colours."""
    found = [(place, findings.results.runs[place].weight_changes) for place in places]
    moved = [(place, changes) for place, changes in found if changes is not None]
    figure = framed(11, 0.8 + 3.6 * len(moved))
    grid: Any = figure.subplots(len(moved), 2, squeeze=False, sharex="col", sharey="col")
    densities = {place: numpy.array(changes.density) for place, changes in moved}
    positive = numpy.concatenate([density[density > 0] for density in densities.values()])
    # Of no weight at all there is nothing to colour.
    least, most = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    norm = LogNorm(least, most if most > least else 2 * least)
    start = max(changes.start_limit for _, changes in moved)
    end = max(changes.end_limit for _, changes in moved)
    for (place, changes), (left, right) in zip(moved, grid, strict=True):
        image = _draw_joint(left, changes, densities[place], norm, (start, end))
        figure.colorbar(image, ax=left, label="density of weights")
        left.set_title(findings.labels[place])
        _draw_sizes(right, changes, findings.looks[place].light)
    grid[-1][0].set_xlabel("weight at the start →")
    grid[-1][1].set_xlabel("|Δ| of a weight →")
    return figure


def _draw_joint(axes: Axes, changes: WeightChanges, density: Any, norm: LogNorm, limits: tuple[float, float]) -> Any:
    start, end = changes.start_limit, changes.end_limit
    image = axes.imshow(
        numpy.ma.masked_equal(density.T, 0),
        origin="lower",
        extent=(-start, start, -end, end),
        aspect="auto",
        interpolation="none",
        norm=norm,
        cmap="viridis",
    )
    # A weight that did not move lies on it.
    reach = min(limits)
    axes.plot([-reach, reach], [-reach, reach], color=INK, linewidth=0.8, dashes=(4, 3))
    axes.grid(False)
    axes.set(xlim=(-limits[0], limits[0]), ylim=(-limits[1], limits[1]))
    axes.set_ylabel("weight at the end →")
    return image


def _draw_sizes(axes: Axes, changes: WeightChanges, colour: str) -> None:
    axes.set(xscale="log", yscale="log")
    # On a log axis an empty bin has no place; below one weight it lies under the frame.
    axes.stairs(changes.changes, changes.change_edges, fill=True, baseline=0.5, color=colour)
    axes.set_ylim(bottom=0.5)
    axes.set_ylabel("weights →")
    left_out = [
        f"{formatting.count(number)} {what}"
        for number, what in (
            (changes.unchanged, "exactly 0"),
            (changes.smaller, f"below {formatting.scientific(changes.least_change)}"),
            (changes.larger, f"from {formatting.scientific(changes.most_change)} on"),
        )
        if number
    ]
    axes.set_title("; ".join(left_out), fontsize=9, fontweight="normal", color=QUIET)


def _spread(places: Sequence[int], room: int) -> list[int]:
    if len(places) <= room:
        return list(places)
    return [places[round(step * (len(places) - 1) / (room - 1))] for step in range(room)]
