"""How a study is shown at the end."""

from pathlib import Path

from lalora.cli.console import wide_console
from lalora.report import Findings, headline, terminal_tables

_TABLE_WIDTH = 100


def show(findings: Findings, folder: Path) -> None:
    """Print the tables, what the study found in words, and where the report is."""
    console = wide_console(_TABLE_WIDTH)
    for table in terminal_tables(findings):
        console.print(table)
    console.print(headline(findings), highlight=False, soft_wrap=True)
    print(f"\nreport: {folder / 'report.html'}")
