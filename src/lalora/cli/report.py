"""`lalora report`: draw again without training."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lalora.report import draw, headline, load_results, terminal_table


def report(folder: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Draw the table, the pictures and the page of a study again."""
    results = load_results(folder)
    draw(results, folder)
    console = Console()
    console.print(terminal_table(results))
    console.print(headline(results), highlight=False, soft_wrap=True)
    print(f"\nreport: {folder / 'report.html'}")
