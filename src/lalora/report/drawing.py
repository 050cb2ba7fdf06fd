"""Writes the pictures and the page of a study."""

import os
from pathlib import Path
from typing import Any

from lalora.errors import LaloraError
from lalora.report.page import render
from lalora.report.pictures import curves, tradeoff
from lalora.report.schema import parse


def draw(results: dict[str, Any], folder: Path) -> None:
    """Writes `tradeoff.png`, `curves.png` and the self-contained `report.html` into a folder, each at once.

    Raises:
        LaloraError: the results have another format or lack a field, or the folder cannot be written.
    """
    study = parse(results)
    files = {
        "tradeoff.png": tradeoff(study),
        "curves.png": curves(study),
        "report.html": render(study).encode(),
    }
    for name, content in files.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / name, content)
        except OSError as error:
            raise LaloraError(f"{folder / name}: cannot be written ({error.strerror})") from error


def _write(path: Path, content: bytes) -> None:
    """Writes beside the file and moves over it, so that nobody ever sees half of it.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
