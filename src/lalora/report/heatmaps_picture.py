"""The picture of the heat maps: blue is better than plain LoRA, orange is worse."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from lalora.report.heatmaps import HeatMap, heat_maps
from lalora.report.pictures import INK, STYLE, Picture, framed, remark, saved
from lalora.report.schema import Results

COLOURS = LinearSegmentedColormap.from_list("better", ["#e8925a", "#ffffff", "#5aa5d4"])
"""Hues that people with any common colour blindness tell apart, light enough for dark figures on them."""


def heatmaps_picture(results: Results) -> Picture:
    """Returns all maps of a study, two side by side, the number written in each cell."""
    maps = heat_maps(results)
    lines = -(-len(maps) // 2)
    with rc_context({**STYLE, "axes.grid": False}):
        wide = max(3.4 + 0.72 * max(len(one.columns) for one in maps), 6.5)
        heights = [1.4 + 0.42 * max(len(one.rows) for one in maps[2 * k : 2 * k + 2]) for k in range(lines)]
        figure = framed(wide * min(2, len(maps)), sum(heights) + 0.3)
        grid = figure.subplots(lines, min(2, len(maps)), squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, one in zip(grid.flat, maps, strict=False):
            _map(axes, one)
        for axes in grid.flat[len(maps) :]:
            axes.set_visible(False)
        remark(figure, "Against plain LoRA of the same seed, mean over seeds. Blue: better; orange: worse.")
        return saved(figure)


def _map(axes: Axes, one: HeatMap) -> None:
    worths = [[one.worth(value) for value in row] for row in one.values]
    axes.imshow(worths, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(one.values):
        for j, value in enumerate(row):
            axes.text(j, i, one.text(value), ha="center", va="center", color=INK, fontsize=9)
    axes.set_xticks(range(len(one.columns)), one.columns)
    axes.set_yticks(range(len(one.rows)), one.rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"{one.column_title} →")
    axes.set_ylabel(one.row_title)
    axes.set_title(f"{one.family}: {one.quantity.title}, {one.unit}")
