"""Curves where one setting, such as the rank, varies in plain LoRA and in other methods: Figs. 18 to 25."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lalora.report.findings import Findings
from lalora.report.inline import of_run
from lalora.report.lines import draw_line, in_text, opacity_of_bands
from lalora.report.look import DASHES, INK, MARKERS
from lalora.report.multiples import Multiples, Variant, multiples
from lalora.report.panels.panel import Panel
from lalora.report.pictures import framed, legend, remark
from lalora.report.series import Curve

_LETTERS_AN_INCH = 16
_PALEST = 0.4
_LONGEST_TITLE = 40


class _MultiplesPanel(Panel):
    def __init__(self, findings: Findings) -> None:
        """Finds the setting that varies."""
        super().__init__(findings)
        self.multiples = multiples(findings)
        if self.multiples is not None:
            self.title = self.title.replace("a setting", self.multiples.setting)

    @property
    def is_empty(self) -> bool:
        """Whether no setting varies in plain LoRA and in another method."""
        return self.multiples is None

    def figure(self) -> Figure | None:
        """Returns the picture."""
        if self.multiples is None:
            return None
        figure = self._drawn(self.multiples)
        if self.findings.several:
            remark(figure, "Lines: mean over seeds; bands: ± one standard deviation.")
        return figure

    def _drawn(self, found: Multiples) -> Figure:
        raise NotImplementedError


class ByValuePanel(_MultiplesPanel):
    """A column a value of the setting, a line a method: Figs. 18 and 19 (steps), 20 and 23 (rank)."""

    name = "by-value"
    title = "Methods at each value of a setting"
    prose = "One column a value, a line a method with its strength. The plots of a row have the same scale."
    alt = "Forgetting above learning over the steps, one column a value of the setting, a line a method"

    def _drawn(self, found: Multiples) -> Figure:
        columns = len(found.values)
        width = min(max(3.4 * columns, 7.0), 24.0)
        figure = framed(width, 6.6)
        grid: Any = figure.subplots(2, columns, sharex="col", sharey="row", squeeze=False)
        for curve, row in zip(found.curves, grid, strict=True):
            for place, axes in enumerate(row):
                self._lines(axes, found, curve, place)
            row[0].set_ylabel(f"{curve.title}\n{curve.axis}", fontsize=8.5)
        for value, axes in zip(found.values, grid[0], strict=True):
            axes.set_title(in_text("\n".join([value.text, *value.following])))
        for axes in grid[1]:
            axes.set_xlabel("optimizer step", fontsize=8.5)
        legend(figure, grid.flat, int(_LETTERS_AN_INCH * width))
        return figure

    def _lines(self, axes: Axes, found: Multiples, curve: Curve, value: int) -> None:
        lines = found.at(value, curve)
        for variant, line in lines:
            look = variant.look
            style: dict[str, Any] = {"marker": MARKERS[look.shape], "dashes": look.dash or (None, None)}
            gid = of_run(found.first(variant, value))
            draw_line(axes, line, look.light, variant.name, opacity_of_bands(len(lines)), gid, markersize=5, **style)


class ByMethodPanel(_MultiplesPanel):
    """A row a method, a line a value of the setting: Figs. 21 and 24, and in the two thick lines Figs. 22 and 25."""

    name = "by-method"
    title = "Each method over the values of a setting"
    prose = (
        "One row a method with its strength, a line a value, paler to darker; the first and the last value are thick "
        "and have bands. The plots of a column have the same scale."
    )
    alt = "Forgetting beside learning over the steps, one row a method, a line a value of the setting"

    def _drawn(self, found: Multiples) -> Figure:
        rows = len(found.variants)
        figure = framed(10, 2.6 * rows + 1.0)
        grid: Any = figure.subplots(rows, 2, sharex=True, sharey="col", squeeze=False)
        for variant, row in zip(found.variants, grid, strict=True):
            for curve, axes in zip(found.curves, row, strict=True):
                self._lines(axes, found, curve, variant)
                axes.set_title(in_text(textwrap.fill(variant.name, _LONGEST_TITLE)))
                axes.set_ylabel(f"{curve.title}\n{curve.axis}", fontsize=8.5)
        for axes in grid[-1]:
            axes.set_xlabel("optimizer step", fontsize=8.5)
        names = [in_text(" ".join([value.text, *value.following])) for value in found.values]
        handles = [Line2D([], [], color=INK, label=name, **_style(found, place)) for place, name in enumerate(names)]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
        return figure

    def _lines(self, axes: Axes, found: Multiples, curve: Curve, variant: Variant) -> None:
        for value, line in found.of(variant, curve):
            band = opacity_of_bands(2) if _is_outer(found, value) else 0.0
            draw_line(axes, line, variant.hue, "", band, of_run(found.first(variant, value)), **_style(found, value))


def _style(found: Multiples, value: int) -> dict[str, Any]:
    """Returns how the line of a value looks, the last the darkest and solid."""
    last = len(found.values) - 1
    return {
        "alpha": _PALEST + (1 - _PALEST) * value / last,
        "dashes": DASHES[(last - value) % len(DASHES)] or (None, None),
        "linewidth": 2.6 if _is_outer(found, value) else 1.4,
    }


def _is_outer(found: Multiples, value: int) -> bool:
    return value in (0, len(found.values) - 1)
