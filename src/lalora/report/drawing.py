"""Writes the pictures and the page of a study."""

from pathlib import Path
from typing import Any

from lalora.errors import LaloraError
from lalora.files import write_atomically
from lalora.report.calibration import calibration
from lalora.report.calibration_picture import calibration_picture
from lalora.report.page import render
from lalora.report.pictures import curves
from lalora.report.schema import parse
from lalora.report.tradeoff import tradeoff


def draw(results: dict[str, Any], folder: Path) -> None:
    """Writes `tradeoff.png`, `curves.png` and the self-contained `report.html` into a folder, each at once.

    A study that asked for forecasts gets a `calibration.png` too.

    Raises:
        LaloraError: the results have another format or lack a field, or the folder cannot be written.
    """
    study = parse(results)
    files = {
        "tradeoff.png": tradeoff(study),
        "curves.png": curves(study),
        "report.html": render(study).encode(),
    }
    if calibration(study):
        files["calibration.png"] = calibration_picture(study)
    for name, content in files.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
        except OSError as error:
            raise LaloraError(f"{folder / name}: cannot be written ({error.strerror})") from error
