"""How pictures look, and how they are saved."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from matplotlib.artist import Artist
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
    drawn = figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns)
    for handle, *parts in zip(once.values(), drawn.legend_handles, drawn.get_texts(), strict=True):
        gid = handle.get_gid() if isinstance(handle, Artist) else None
        for part in parts:
            if gid is not None and part is not None:
                part.set_gid(gid)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.24 * (-(-len(once) // columns) - 1))


def settle(figure: Figure) -> None:
    """Gives an axis whose values all agree one tick, at their value, so that no difference is drawn where none is."""
    for axes in figure.axes:
        if axes.get_visible() and axes.has_data() and not axes.images:
            _settle(axes, "x", axes.get_shared_x_axes().get_siblings(axes))
            _settle(axes, "y", axes.get_shared_y_axes().get_siblings(axes))


def _settle(axes: Axes, name: str, shared: Sequence[Axes]) -> None:
    if getattr(axes, f"get_{name}scale")() != "linear":
        return
    ranges = [getattr(one.dataLim, f"interval{name}") for one in shared if one.has_data()]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if agree(low, high):
        room = abs(high) or 1.0
        getattr(axes, f"set_{name}lim")(low - room, high + room)
        getattr(axes, f"set_{name}ticks")([high], [f"{high:.3g}"])


def agree(low: float, high: float) -> bool:
    """Returns whether values agree to three digits."""
    return isfinite(high - low) and high - low <= max(5e-4 * max(abs(low), abs(high)), 1e-6)


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
