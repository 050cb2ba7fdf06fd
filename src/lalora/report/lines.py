"""One line of a picture over steps, with its band over the seeds."""

from typing import Any

from matplotlib.axes import Axes

from lalora.report.series import Band

_MOST_OPAQUE, _ALL_BANDS = 0.18, 1.2


def opacity_of_bands(lines: int) -> float:
    """Returns how opaque each band is, so that many above each other leave their lines visible."""
    return min(_MOST_OPAQUE, _ALL_BANDS / max(lines, 1))


def draw_line(
    axes: Axes, found: Band, colour: str, label: str, band: float = 0.0, gid: str | None = None, **style: Any
) -> None:
    """Draws means over seeds, and with the opacity `band` their ± one standard deviation; nothing where none is.

    `gid` is the run that it is hidden with on the page.
    """
    if not found:
        return
    steps = [step for step, _ in found]
    if band and any(at.deviation is not None for _, at in found):
        lows, highs = [at.low for _, at in found], [at.high for _, at in found]
        axes.fill_between(steps, lows, highs, color=colour, alpha=band, linewidth=0, gid=gid)
    axes.plot(steps, [at.mean for _, at in found], color=colour, label=in_text(label), gid=gid, **style)


def in_text(name: str) -> str:
    """Returns a name as text of a picture, in which a `$` begins no formula."""
    return name.replace("$", r"\$")
