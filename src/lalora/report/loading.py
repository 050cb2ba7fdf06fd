"""Reads the results of a study from its folder."""

import json
from pathlib import Path
from typing import Any

from lalora.errors import LaloraError
from lalora.report.schema import parse


def load_results(folder: Path) -> dict[str, Any]:
    """Returns what `results.json` in the folder of a study holds, its shape checked.

    Raises:
        LaloraError: the file is missing, unreadable, not JSON, or of another format.
    """
    path = folder / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LaloraError(f"{path}: not found; give the folder that `lalora run` wrote") from error
    except OSError as error:
        raise LaloraError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LaloraError(f"{path}: not valid JSON ({error}); run the study again to write it anew") from error
    if not isinstance(content, dict):
        raise LaloraError(f"{path}: holds no results (expected a JSON object); run the study again")
    parse(content, where=str(path))
    return content
