"""Files that a killed process never leaves half-written, and metrics as JSON Lines."""

import json
from pathlib import Path
from typing import Any

from lalora.files import write_atomically

Row = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one piece.

    Args:
        path: Where to; its folder exists.
        value: What JSON can hold.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece: a reader sees the old one or the new one.

    Args:
        path: Where to; its folder exists.
        text: The content.
    """
    write_atomically(path, text.encode())


def read_json(path: Path) -> Any:
    """Read a JSON file that may be absent or damaged.

    Args:
        path: The file.

    Returns:
        Its content, or None if there is no such file or it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def read_rows(path: Path) -> list[Row]:
    """Read JSON Lines up to the first line that a killed writer left incomplete.

    Args:
        path: The file.

    Returns:
        The rows; none if there is no such file.
    """
    rows: list[Row] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a row to JSON Lines.

    Args:
        path: The file; made if absent.
        row: What JSON can hold.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_back(path: Path, step: int) -> None:
    """Drop the rows of later steps, so that the rest can be written again.

    Args:
        path: JSON Lines whose rows have a `step`.
        step: The last step to keep; -1 keeps nothing.
    """
    kept = [row for row in read_rows(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
