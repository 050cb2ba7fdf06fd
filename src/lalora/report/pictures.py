"""How pictures look, and how they are saved."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lalora.report.look import GRID, INK, QUIET

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure, for screens and for print."""

    png: bytes
    pdf: bytes


def framed(width: float, height: float) -> Figure:
    """Returns an empty figure of so many inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def legend(figure: Figure, panels: Iterable[Axes], letters: int) -> None:
    """Puts the legend below, a name once however many seeds share it; the figure grows where it needs many rows.

    `letters` fit side by side, a mark counting as eight.
    """
    once = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if not once:
        return
    columns = max(1, min(5, len(once), letters // (8 + max(map(len, once)))))
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * (-(-len(once) // columns) - 1))


def saved(figure: Figure) -> Picture:
    """Returns a figure in both formats."""
    found = []
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
        found.append(buffer.getvalue())
    return Picture(*found)


def remark(figure: Figure, text: str) -> None:
    """Puts a quiet sentence above all panels."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=9, color=QUIET)
