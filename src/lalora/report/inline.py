"""A picture as a part of the page: SVG in the colours of its light and its dark."""

import io
import re

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from lalora.report.look import GRID, HUES, INK, LIGHT_PAGE, QUIET

# What the page's style calls the colours of pictures.
_VARIABLES = {
    **{hue.light: f"--{name}" for name, hue in HUES.items()},
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--grid",
    LIGHT_PAGE: "--card",
}
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
    return Markup(svg.replace("<svg", Markup('<svg class="picture" role="img" aria-label="{}"').format(alt), 1))


def _in_page(colour: str) -> str:
    return f"var({_VARIABLES[colour]})" if colour in _VARIABLES else colour
