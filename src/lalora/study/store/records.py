"""Files that a killed process never leaves half-written, and metrics as JSON Lines."""

import contextlib
import json
from pathlib import Path
from typing import Any

from lalora.files import parse_json, read_small, write_atomically

Row = dict[str, Any]


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece: a reader sees the old one or the new one."""
    write_atomically(path, text.encode())


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if there is no such regular file or it is not JSON."""
    try:
        return parse_json(read_small(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def read_rows(path: Path) -> list[Row]:
    """Return the rows of JSON Lines up to the first line that is none, as where a writer was killed."""
    rows: list[Row] = []
    with contextlib.suppress(FileNotFoundError, ValueError):  # ends at what no writer of ours finished
        for line in read_small(path).splitlines():
            row = parse_json(line)
            if not isinstance(row, dict):
                break
            rows.append(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a row to JSON Lines, made where absent."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def cut_back(path: Path, step: int) -> None:
    """Drop the rows of later steps, so that the rest can be written again; -1 keeps nothing."""
    kept = [row for row in read_rows(path) if type(row.get("step")) is int and row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
