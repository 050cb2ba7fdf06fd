"""Writes the page, the pictures and the tables of a study."""

from pathlib import Path

from matplotlib import rc_context

from lalora.errors import LaloraError
from lalora.files import write_atomically
from lalora.report.findings import Findings
from lalora.report.inline import inline_svg
from lalora.report.page import render
from lalora.report.panels.order import PANELS
from lalora.report.panels.panel import Panel
from lalora.report.pictures import STYLE, saved, settle
from lalora.report.tables import files_of


def draw(findings: Findings, folder: Path) -> None:
    """Writes the self-contained `report.html`, the pictures and the tables of a study into a folder, each at once.

    Pictures are PNG and PDF, by the names of their panels; tables are CSV, Markdown and LaTeX.

    Raises:
        LaloraError: the folder cannot be written.
    """
    for name, content in drawn(findings).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
        except OSError as error:
            raise LaloraError(f"{folder / name}: cannot be written ({error.strerror})") from error


def drawn(findings: Findings) -> dict[str, bytes]:
    """Returns every file of a report by its name."""
    panels = [panel(findings) for panel in PANELS]
    with rc_context(STYLE):
        figures = {panel: figure for panel in panels if (figure := panel.figure()) is not None}
        for figure in figures.values():
            settle(figure)
        pictures = {panel.name: saved(figure) for panel, figure in figures.items()}
        inline = {
            panel.name: inline_svg(figure, panel.alt)
            for panel, figure in figures.items()
            if panel.pictured or panel.template == Panel.template
        }
    files = {f"{name}.png": picture.png for name, picture in pictures.items()}
    files |= {f"{name}.pdf": picture.pdf for name, picture in pictures.items()}
    for table in (table for panel in panels for table in panel.tables() if table.file):
        files |= files_of(table)
    page = render(findings, panels, inline)
    return files | {"report.html": page.encode()}
