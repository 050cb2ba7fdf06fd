"""How a study is shown at the end."""

from pathlib import Path
from typing import Any

from lalora.cli.console import wide_console
from lalora.report import calibration_tables, cost_tables, headline, published_tables, selection_tables, terminal_table

_TABLE_WIDTH = 100


def show(results: dict[str, Any], folder: Path) -> None:
    """Print the table, what it says in words, and where the report is."""
    console = wide_console(_TABLE_WIDTH)
    console.print(terminal_table(results))
    more = [published_tables, selection_tables, calibration_tables, cost_tables]
    for table in (table for of in more for table in of(results)):
        console.print(table)
    console.print(headline(results), highlight=False, soft_wrap=True)
    print(f"\nreport: {folder / 'report.html'}")
