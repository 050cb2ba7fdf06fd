"""Writes the page, the pictures and the tables of a study."""

from pathlib import Path
from typing import Any

from lalora.errors import LaloraError
from lalora.files import write_atomically
from lalora.report.calibration import calibration
from lalora.report.calibration_picture import calibration_picture
from lalora.report.curves import curves
from lalora.report.heatmaps import heat_maps
from lalora.report.heatmaps_picture import heatmaps_picture
from lalora.report.page import render
from lalora.report.schema import parse
from lalora.report.tables import tables
from lalora.report.tradeoff import tradeoff


def draw(results: dict[str, Any], folder: Path) -> None:
    """Writes the self-contained `report.html`, the pictures and the tables of a study into a folder, each at once.

    `tradeoff` and `curves` are PNG and PDF, `results` is CSV, Markdown and LaTeX. A study that asked for forecasts gets
    a `calibration` picture too, one with a full grid of two settings of a method `heatmaps`.

    Raises:
        LaloraError: the results have another format or lack a field, or the folder cannot be written.
    """
    for name, content in _drawn(results).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
        except OSError as error:
            raise LaloraError(f"{folder / name}: cannot be written ({error.strerror})") from error


def _drawn(results: dict[str, Any]) -> dict[str, bytes]:
    study = parse(results)
    pictures = {"tradeoff": tradeoff(study), "curves": curves(study)}
    if calibration(study):
        pictures["calibration"] = calibration_picture(study)
    if heat_maps(study):
        pictures["heatmaps"] = heatmaps_picture(study)
    files = {f"{name}.png": picture.png for name, picture in pictures.items()}
    files |= {f"{name}.pdf": picture.pdf for name, picture in pictures.items()}
    files |= tables(study)
    return files | {"report.html": render(study).encode()}
