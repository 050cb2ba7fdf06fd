"""Reads the results of a study from its folder."""

from pathlib import Path
from typing import Any

from lalora.errors import LaloraError, one_line
from lalora.files import parse_json, read_small
from lalora.report.schema import parse

_LONGEST_TEXT = 20_000


def load_results(folder: Path) -> dict[str, Any]:
    """Returns what `results.json` in the folder of a study holds, its shape checked.

    Raises:
        LaloraError: the file is missing, unreadable, not JSON, or of another format.
    """
    path = folder / "results.json"
    try:
        content = parse_json(read_small(path))
    except FileNotFoundError as error:
        raise LaloraError(f"{path}: not found; give the folder that `lalora run` wrote") from error
    except OSError as error:
        raise LaloraError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LaloraError(
            f"{path}: not valid JSON ({one_line(error)}); run the study again to write it anew"
        ) from error
    if not isinstance(content, dict):
        raise LaloraError(f"{path}: holds no results (expected a JSON object); run the study again")
    _require_plain(content, str(path))
    parse(content, where=str(path))
    return content


def _require_plain(value: Any, where: str) -> None:
    # What is said here goes to terminals and pictures.
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or not all(letter.isprintable() or letter in "\n\t" for letter in value):
            raise LaloraError(
                f"{where}: holds a text with control characters or of more than {_LONGEST_TEXT:,} characters, "
                f"{value!r:.60}; run the study again"
            )
    elif isinstance(value, dict):
        for key, inner in value.items():
            _require_plain(key, where)
            _require_plain(inner, where)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, where)
