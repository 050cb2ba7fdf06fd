"""What a picture draws: lines, bands and texts of its plots."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure


class Line(NamedTuple):
    """A line as drawn; `lows` and `highs` are those of the band below it, None without one."""

    xs: list[float]
    ys: list[float]
    lows: list[float] | None
    highs: list[float] | None


def lines_of(axes: Axes) -> list[Line]:
    """Returns the lines of a plot in their order; a band belongs to the line that begins between its edges."""
    bands = [collection.get_paths()[0].vertices for collection in axes.collections]
    return [_with_band(line, bands) for line in axes.lines]


def plots(figure: Figure) -> list[Axes]:
    """Returns the plots that are seen."""
    return [axes for axes in figure.axes if axes.get_visible()]


def _with_band(line: Any, bands: list[Any]) -> Line:
    xs, ys = ([float(value) for value in values] for values in line.get_data())
    for band in bands:
        edges = [sorted(float(y) for x, y in band if x == at) for at in xs]
        middles = [(min(edge) + max(edge)) / 2 if edge else None for edge in edges]
        if all(middle is not None and abs(middle - y) < 1e-9 for middle, y in zip(middles, ys, strict=True)):
            return Line(xs, ys, [edge[0] for edge in edges], [edge[-1] for edge in edges])
    return Line(xs, ys, None, None)
