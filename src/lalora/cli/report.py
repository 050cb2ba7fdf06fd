"""`lalora report`: draw again without training, one study or several as one."""

from pathlib import Path
from typing import Annotated

import typer

from lalora.errors import LaloraError


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folder of a study; of several, to compare their runs.")],
    out: Annotated[Path | None, typer.Option(help="Where to draw; needed with several studies.")] = None,
) -> None:
    """Draw the table, the pictures and the page of a study again, or of several together."""
    from lalora.cli.show import show
    from lalora.report import Findings, draw
    from lalora.results import load_results, merged

    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise LaloraError(f"{folder} is given twice: give each study once")
    studies = {str(folder): load_results(folder) for folder in folders}
    findings = Findings(merged(studies) if len(studies) > 1 else next(iter(studies.values())))
    place = out or _own(folders)
    draw(findings, place)
    show(findings, place)


def _own(folders: list[Path]) -> Path:
    if len(folders) > 1:
        raise LaloraError("several studies need a folder for what compares them: say --out")
    return folders[0]
