"""What a section of a report can have."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lalora.report.column import Table
from lalora.report.findings import Findings


class Panel:
    """One section of a report: what it says, and as far as it has them its tables, its picture, its plots.

    Page, pictures and terminal go through all panels in the order of `PANELS`. The template `panel.html` shows title,
    prose, picture, tables and fine print; a panel that shows more has its own.
    """

    name: str
    """Of its picture's files, and on the page."""
    title: str
    template = "panel.html"
    prose = ""
    fine = ""
    alt = "The numbers stand in the table below"
    scripts: tuple[str, ...] = ()
    """Files of the page that draw its plots, after those of the panels before it."""
    pictured = False
    """Whether a template of its own shows its picture too, beside its plots."""

    def __init__(self, findings: Findings) -> None:
        """Works out its data."""
        self.findings = findings

    @property
    def is_empty(self) -> bool:
        """Whether the study has nothing for it, so that the page leaves it out."""
        return not (self.tables() or self.scripts)

    def tables(self) -> Sequence[Table]:
        """Returns its tables."""
        return ()

    def figure(self) -> Figure | None:
        """Returns its picture, drawn in the style of all."""
        return None

    def plots(self) -> dict[str, Any]:
        """Returns what its scripts draw from, as plain JSON values under keys of its own."""
        return {}
