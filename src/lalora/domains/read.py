"""Read rows from JSON-Lines files and make sure that they have what a domain needs."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lalora.domains.domain import Domain
from lalora.errors import LaloraError

Row = dict[str, Any]


class Placed(Row):
    """A row that knows where it came from, for messages about it."""

    def __init__(self, row: Row, where: str) -> None:
        """Place a row.

        Args:
            row: its columns.
            where: such as `file:line`.
        """
        super().__init__(row)
        self.where = where


def read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    """Read the objects of a JSON-Lines file, gzipped or not.

    Args:
        path: a file whose name ends in `.jsonl` or `.jsonl.gz`.

    Yields:
        Where the object stands (`file:line`, counted from 1) and the object; blank lines are skipped.

    Raises:
        LaloraError: the file is missing or unreadable, or a line is not a JSON object.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise LaloraError(f"{path}:{number}: not valid JSON ({error.msg})") from error
                if not isinstance(row, dict):
                    raise LaloraError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
                yield f"{path}:{number}", row
    except FileNotFoundError as error:
        raise LaloraError(f"there is no data file {path}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LaloraError(f"cannot read {path}: {error}") from error


def checked(domain: Domain, rows: Iterable[tuple[str, Row]], origin: str) -> list[Row]:
    """Keep a domain's columns of every row whose answer is known, and check them.

    Args:
        domain: what the rows are for.
        rows: pairs of where a row stands and the row.
        origin: the file or data set, named in messages.

    Returns:
        The rows with exactly the columns of the domain, each with its place.

    Raises:
        LaloraError: a column is missing or of another type, there are no rows, or none has an answer.
    """
    kept: list[Row] = []
    seen = 0
    for where, row in rows:
        seen += 1
        for column in domain.columns:
            if column not in row:
                raise LaloraError(
                    f"{where}: no column '{column}'; {domain.name} needs {', '.join(domain.columns)}, "
                    f"the row has {', '.join(map(str, row))}"
                )
        if domain.label is None or row[domain.label] not in ("", None):
            typed = {column: _typed(row[column], kind, column, where) for column, kind in domain.columns.items()}
            kept.append(Placed(typed, where))
    if not seen:
        raise LaloraError(f"{origin} is empty; {domain.name} needs at least one row")
    if not kept:
        raise LaloraError(f"{origin}: no rows left: the column '{domain.label}' is empty in all {seen} of them")
    return kept


def _typed(value: Any, kind: type, column: str, where: str) -> Any:
    # A label written as the number 1 instead of the text "1" means the same.
    if kind is str and type(value) is int:
        return str(value)
    if not isinstance(value, kind):
        found = _PLAIN.get(type(value), type(value).__name__)
        raise LaloraError(f"{where}: column '{column}' should be {_PLAIN[kind]}, found {found}")
    return value


_PLAIN = {str: "text", list: "a list", dict: "an object", float: "a number", type(None): "null", bool: "true or false"}
