"""Read rows from data files and make sure that they have what a domain needs."""

import gzip
import itertools
import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lalora.domains.domain import Domain
from lalora.errors import LaloraError, one_line

Row = dict[str, Any]

_LINES = (".jsonl", ".jsonl.gz")
_BUILDERS = {".jsonl.zst": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
KINDS = (*_LINES, *_BUILDERS)
"""How the names of data files end."""
_LONGEST_LINE = 1 << 26
_MOST_BYTES = 1 << 33


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


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read the rows of a data file: JSON Lines by hand, so that a mistake has a line, other kinds through `datasets`.

    Args:
        path: a regular file whose name ends in one of `KINDS`.

    Yields:
        Where a row stands (`file:line`, counted from 1, or `file row n`, counted from 0) and the row.

    Raises:
        LaloraError: the file is missing, no regular file, of another kind, or damaged.
    """
    if not path.exists():
        raise LaloraError(f"there is no data file {path}")
    if not path.is_file():  # a pipe or a device may never end
        raise LaloraError(f"{path} is no regular file; give a data file: {', '.join(KINDS)}")
    kind = kind_of(path)
    if kind is None:
        raise LaloraError(f"{path} is of no kind that is read here: {', '.join(KINDS)}")
    yield from (_json_lines(path) if kind in _LINES else _through_datasets(path, _BUILDERS[kind]))


def kind_of(path: Path) -> str | None:
    """Tell the kind of a data file by its name.

    Args:
        path: any path.

    Returns:
        The ending, one of `KINDS`; `None` for other names.
    """
    return next((kind for kind in KINDS if path.name.endswith(kind)), None)


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        read = 0
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number in itertools.count(1):
                line = file.readline(_LONGEST_LINE + 1)
                read += len(line)
                if not line:
                    return
                if len(line) > _LONGEST_LINE or read > _MOST_BYTES:
                    raise LaloraError(f"{path}:{number}: longer than any row of text ({len(line):,} bytes and on)")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield f"{path}:{number}", _row(text, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise LaloraError(f"{path}:{number}: is not UTF-8 ({error.reason})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise LaloraError(f"cannot read {path}: {one_line(error)}") from error


def _row(text: str, where: str) -> Row:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise LaloraError(f"{where}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
        raise LaloraError(f"{where}: not valid JSON ({one_line(error, 80)})") from error
    if not isinstance(row, dict):
        raise LaloraError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def _through_datasets(path: Path, builder: str) -> Iterator[tuple[str, Row]]:
    import datasets

    with tempfile.TemporaryDirectory(prefix="lalora-") as cache:
        try:
            rows = list(
                datasets.load_dataset(
                    builder, data_files=str(path), split="train", cache_dir=cache, keep_in_memory=True
                )
            )
        except Exception as error:  # pandas, arrow and others raise errors of their own
            cause = error.__cause__ or error
            raise LaloraError(f"cannot read {path} as {builder}: {one_line(cause, 200)}") from error
    for number, row in enumerate(rows):
        yield f"{path} row {number}", row


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
        if domain.label is None or (row[domain.label] is not None and str(row[domain.label]).strip()):
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
