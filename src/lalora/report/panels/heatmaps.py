"""Heat maps of what settings give over plain LoRA, with the mean of each row as a bar beside it."""

import textwrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from lalora.report.benefits import heat_maps
from lalora.report.findings import Findings
from lalora.report.heat_map import HeatMap
from lalora.report.look import BETTER, INK, LIGHT_PAGE, QUIET, WORSE
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, remark

COLOURS = LinearSegmentedColormap.from_list("better", [WORSE.light, LIGHT_PAGE, BETTER.light])
FRAMES = "A frame: the curvature knows that data set alone."
_SIDE_BY_SIDE = 2


class HeatmapsPanel(Panel):
    """The maps of every method, blue where it is better than plain LoRA and orange where it is worse."""

    name = "heatmaps"
    title = "Benefit over plain LoRA"
    template = "heatmaps.html"

    def __init__(self, findings: Findings) -> None:
        """Finds the maps."""
        super().__init__(findings)
        self.groups = heat_maps(findings)

    @property
    def maps(self) -> list[HeatMap]:
        """All maps in the order of the page."""
        return [one for group in self.groups for one in group]

    @property
    def is_empty(self) -> bool:
        """Whether no method has a map."""
        return not self.groups

    @property
    def frames(self) -> str:
        """What frames mean, where there are some."""
        return FRAMES if any(one.framed for one in self.maps) else ""

    def figure(self) -> Figure | None:
        """Returns all maps, two side by side, the number written in each cell and beside each bar."""
        if self.is_empty:
            return None
        starts = [(group, start) for group in self.groups for start in range(0, len(group), _SIDE_BY_SIDE)]
        lines = [group[start : start + _SIDE_BY_SIDE] for group, start in starts]
        beside = max(map(len, lines))
        width = max(4.6 + 0.78 * max(len(one.columns) for one in self.maps), 7.0)
        heights = [1.5 + 0.42 * max(len(one.rows) for one in line) for line in lines]
        with rc_context({"axes.grid": False}):
            figure = framed(width * beside, sum(heights) + 0.4)
            grid = figure.subfigures(len(lines), beside, squeeze=False, height_ratios=heights)
            for places, line in zip(grid, lines, strict=True):
                for place, one in zip(places, line, strict=False):
                    _draw(place, one)
            text = "Against plain LoRA of the same seed. Blue: better; orange: worse."
            remark(figure, f"{text} {self.frames}".strip())
        return figure


def _draw(place: SubFigure, one: HeatMap) -> None:
    place.suptitle(
        f"{one.heading}: {one.quantity.title}", x=0.02, ha="left", fontsize=10.5, fontweight="bold", wrap=True
    )
    cells, bars = place.subplots(1, 2, width_ratios=[0.9 * len(one.columns), 1.3], sharey=True)
    _draw_cells(cells, one)
    if one.bars is None:
        bars.set_visible(False)
    else:
        _draw_bars(bars, one, one.bars)


def _draw_cells(axes: Axes, one: HeatMap) -> None:
    axes.imshow(
        [[one.worth(value) for value in row] for row in one.values], cmap=COLOURS, vmin=-1, vmax=1, aspect="auto"
    )
    for i, row in enumerate(one.values):
        for j, value in enumerate(row):
            axes.text(j, i, one.text(value), ha="center", va="center", color=INK, fontsize=9)
    for i, j in one.framed:
        axes.add_patch(Rectangle((j - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=INK, linewidth=1.8))
    axes.set_xticks(range(len(one.columns)), one.columns)
    axes.set_yticks(range(len(one.rows)), one.rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{one.column_title} →\n{one.unit}; {one.cells}", fontsize=9)
    axes.set_ylabel(one.row_title)


def _draw_bars(axes: Axes, one: HeatMap, bars: list[float]) -> None:
    room = one.scale.high - one.scale.low or 1.0
    for i, bar in enumerate(bars):
        axes.barh(i, bar, height=0.6, color=(BETTER if one.worth(bar) >= 0 else WORSE).light)
        axes.annotate(
            one.text(bar),
            (bar, i),
            xytext=(3 if bar >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if bar >= 0 else "right",
            va="center",
            color=INK,
            fontsize=9,
        )
    axes.axvline(0, color=QUIET, linewidth=0.8)
    # Beside the longest bar on each side there is room for its number.
    axes.set_xlim(one.scale.low - (0.6 * room if one.scale.low < 0 else 0), one.scale.high + 0.6 * room)
    axes.set_xticks([])
    axes.tick_params(length=0, labelleft=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(textwrap.fill(f"mean over {one.over}", 13), fontsize=9)
