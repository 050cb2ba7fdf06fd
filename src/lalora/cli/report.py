"""`lalora report`: draw again without training."""

from pathlib import Path
from typing import Annotated

import typer

from lalora.cli.show import show
from lalora.report import draw, load_results


def report(folder: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Draw the table, the pictures and the page of a study again."""
    results = load_results(folder)
    draw(results, folder)
    show(results, folder)
