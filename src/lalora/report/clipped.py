"""The axes of a picture where far marks are not to squeeze all others: these stand at the edge, with their values."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lalora.report.fences import Fences, is_outside
from lalora.report.look import LIGHT_PAGE, QUIET
from lalora.results.pareto import Point

_ROOM = 0.08


@dataclass(frozen=True)
class Far:
    """A mark with its colour, which may lie beyond the axes, and its name, empty for one seed of several.

    Its gid is the run that it is hidden with.
    """

    at: Point
    name: str
    colour: str
    gid: str | None = None


def clip(limits: tuple[Fences | None, Fences | None], plots: Sequence[tuple[Axes, Sequence[Far]]]) -> None:
    """Fits the axes of plots to the marks within the limits, the same for all, and puts the other marks at the edge."""
    for axis, limit in enumerate(limits):
        if limit is None:
            continue
        every = [mark.at[axis] for _, marks in plots for mark in marks]
        inside = [value for value in every if not is_outside(value, limit)]
        room = _ROOM * (max(inside) - min(inside))
        for axes, _ in plots:
            (axes.set_xlim if axis == 0 else axes.set_ylim)(min(inside) - room, max(inside) + room)
    for axes, marks in plots:
        for mark in marks:
            if any(map(is_outside, mark.at, limits)):
                _at_edge(axes, mark)


def _at_edge(axes: Axes, mark: Far) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x, y = min(max(mark.at[0], left), right), min(max(mark.at[1], bottom), top)
    shape = "<" if mark.at[0] < left else ">" if mark.at[0] > right else "v" if mark.at[1] < bottom else "^"
    axes.plot(
        [x], [y], shape, color=mark.colour, markersize=9 if mark.name else 5, markeredgecolor=LIGHT_PAGE,
        clip_on=False, zorder=6, gid=mark.gid,
    )  # fmt: skip
    if not mark.name:
        return
    axes.annotate(
        f"{mark.name}: {mark.at[0]:.3g}, {mark.at[1]:.3g}", (x, y), (8 if x == left else -8, 0), fontsize=7,
        textcoords="offset points", ha="left" if x == left else "right", va="center", color=QUIET, gid=mark.gid,
        annotation_clip=False,
    )  # fmt: skip
