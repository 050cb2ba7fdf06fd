"""How to do the study again: its command, its versions, its recipe, the settings of every run."""

from datetime import datetime

from lalora.report.panels.panel import Panel
from lalora.report.settings import flat


class ReproducePanel(Panel):
    """What another machine needs to find the same."""

    name = "reproduce"
    title = "Reproduce"
    template = "reproduce.html"

    @property
    def is_empty(self) -> bool:
        """Never: marks of the plots lead to the settings of their runs."""
        return False

    @property
    def finished(self) -> str:
        """When the study ended, as people write it."""
        return moment(self.findings.results.created)

    @property
    def recipe(self) -> list[tuple[str, str]]:
        """The recipe as dotted names and values."""
        return list(flat(self.findings.results.recipe))

    @property
    def settings(self) -> list[list[tuple[str, str]]]:
        """The same of every run."""
        return [list(flat(run.settings)) for run in self.findings.results.runs]


def moment(iso: str) -> str:
    """Returns an ISO date and time as people write it: 2026-01-31 12:00 UTC; anything else as it is."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso
