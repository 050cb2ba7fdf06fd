"""A picture as a part of the page: SVG in the colours of its light and its dark."""

import io
import re
from collections.abc import Iterable

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from lalora.report.look import GRID, HUES, INK, LIGHT_PAGE, QUIET, dark_shade

# What the page's style calls the colours of pictures.
_VARIABLES = {
    **{hue.light: f"--{name}" for name, hue in HUES.items()},
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--grid",
    LIGHT_PAGE: "--card",
}
_SHADE = "--shade-"
_WITHOUT_FILE = {"Creator": None, "Date": None, "Format": None, "Type": None}


def inline_svg(figure: Figure, alt: str) -> Markup:
    """Returns a figure as SVG that takes its colours from the page and is as wide as there is room."""
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lalora"}):
        figure.savefig(buffer, format="svg", metadata=_WITHOUT_FILE, transparent=True)
    svg = buffer.getvalue().decode()
    # What only a file of its own needs; its style would be that of the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| (width|height)="[0-9.]+pt"', "", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _in_page(found[0]), svg)
    # What was drawn of a run is hidden and lit with it.
    svg = re.sub(r'id="run-(\d+)"', r'class="run-\1" data-run="\1"', svg)
    return Markup(svg.replace("<svg", Markup('<svg class="picture" role="img" aria-label="{}"').format(alt), 1))


def of_run(run: int) -> str:
    """Returns the id of what is drawn of a run, as matplotlib's `gid`."""
    return f"run-{run}"


def shades(pictures: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns the variables of the page's style that pictures need besides its own: in the light and in the dark."""
    used = sorted({found for picture in pictures for found in re.findall(rf"{_SHADE}([0-9a-f]{{6}})\b", picture)})
    return {f"{_SHADE}{digits}": (f"#{digits}", dark_shade(f"#{digits}") or f"#{digits}") for digits in used}


def _in_page(colour: str) -> str:
    if colour in _VARIABLES:
        return f"var({_VARIABLES[colour]})"
    return colour if dark_shade(colour) is None else f"var({_SHADE}{colour[1:]})"
