"""The tables of a report for the terminal."""

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from lalora.report.column import Table
from lalora.report.findings import Findings
from lalora.report.panels.order import PANELS


def terminal_tables(findings: Findings) -> list[RichTable]:
    """Returns every table of a report that has columns for the terminal; each is at most 100 columns wide."""
    found = [table for panel in PANELS for table in panel(findings).tables()]
    return [printed(table) for table in found if any(column.short for column in table.columns)]


def printed(table: Table) -> RichTable:
    """Returns a table with its columns for the terminal, their titles standing on one line below."""
    shown = [column for column in table.columns if column.short is not None]
    rich = RichTable(
        box=box.SIMPLE_HEAD, title=Text(table.title), padding=(0, 1), collapse_padding=True, pad_edge=False
    )
    rich.caption = Text(table.caption) if table.caption else None
    lines = max(str(column.short).count("\n") for column in shown)
    for column in shown:
        header = "\n" * (lines - str(column.short).count("\n")) + str(column.short)
        if column.is_text:
            rich.add_column(header, overflow="fold")
        else:
            rich.add_column(header, justify="right", no_wrap=True)
    for title, rows in table.sections:
        if title:
            rich.add_row(Text(title, style="bold"))
        for row in rows:
            cells = [Text(column.text(row)) for column in shown]
            rich.add_row(*cells, style="dim" if table.of_runs and row.run is None else None)
        rich.add_section()
    return rich
