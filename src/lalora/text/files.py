"""Read rows from data files: JSON Lines, JSON, CSV, Parquet."""

import codecs
import csv
import gzip
import io
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from lalora.errors import LaloraError, one_line
from lalora.extras import named_if_missing

Row = dict[str, Any]

KINDS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".parquet")
"""How the names of data files end."""
_DAMAGED = (zlib.error, csv.Error)
_LARGEST_ARRAY = 1 << 30
_LONGEST_LINE = 1 << 26
_MOST_BYTES = 1 << 33
_MOST_BLANK_LINES = 10_000


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read the rows of a data file.

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
    readers = {".json": _json, ".csv": _csv, ".parquet": _parquet}
    kind = kind_of(path)
    if kind is None:
        raise LaloraError(f"{path} is of no kind that is read here: {', '.join(KINDS)}")
    try:
        with named_if_missing(str(path)):
            yield from readers.get(kind, _json_lines)(path)
    except UnicodeDecodeError as error:
        raise LaloraError(f"{path}: is not UTF-8 ({error.reason})") from error
    except (OSError, EOFError, *_DAMAGED) as error:
        raise LaloraError(f"cannot read {path}: {one_line(error, 200)}") from error


def kind_of(path: Path) -> str | None:
    """Tell the kind of a data file by its name.

    Args:
        path: any path.

    Returns:
        The ending, one of `KINDS`; `None` for other names.
    """
    return next((kind for kind in KINDS if path.name.endswith(kind)), None)


def _opened(path: Path) -> IO[bytes]:
    # Not through Arrow, whose reader of JSON brings the process down on some damaged files.
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


@contextmanager
def _zstd(path: Path) -> Generator[IO[bytes], None, None]:
    import zstandard

    try:
        with zstandard.open(path, "rb") as file:
            yield cast("IO[bytes]", io.BufferedReader(file))
    except zstandard.ZstdError as error:
        raise LaloraError(f"cannot read {path}: {one_line(error, 200)}") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    read = blank = 0
    with _zstd(path) if path.suffix == ".zst" else _opened(path) as file:
        for number in itertools.count(1):
            line = file.readline(_LONGEST_LINE + 1)
            read += len(line)
            if not line:
                return
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > _LONGEST_LINE or read > _MOST_BYTES:
                raise LaloraError(f"{path}:{number}: longer than any row of text ({len(line):,} bytes and on)")
            blank = 0 if line.strip() else blank + 1
            if blank > _MOST_BLANK_LINES:
                raise LaloraError(f"{path}:{number}: {_MOST_BLANK_LINES:,} blank lines follow each other; cut them")
            if not blank:
                yield f"{path}:{number}", _row(_parsed(line, f"{path}:{number}"), f"{path}:{number}")


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    if path.stat().st_size > _LARGEST_ARRAY:
        raise LaloraError(f"{path} is too large for one array; write a row a line and name it .jsonl")
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if not content.lstrip().startswith(b"["):
        yield from _json_lines(path)
        return
    for number, row in enumerate(_parsed(content, str(path))):
        yield f"{path} row {number}", _row(row, f"{path} row {number}")


def _parsed(content: bytes, where: str) -> Any:
    try:
        found = json.loads(content.decode(), object_pairs_hook=_object)
        if b"\\ud" in content.lower():  # JSON can spell half a surrogate pair, which no tokenizer takes
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise LaloraError(f"{where}: not valid JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise LaloraError(f"{where}: is not UTF-8 ({error.reason})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, nesting without end
        raise LaloraError(f"{where}: not valid JSON ({one_line(error, 80)})") from error
    return found


def _row(found: Any, where: str) -> Row:
    if not isinstance(found, dict):
        raise LaloraError(f"{where}: expected a JSON object, found {type(found).__name__}")
    return found


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"the column '{_twice([name for name, _ in pairs])}' is there twice")
    return row


def _twice(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    # All is text, as it stands there: "NA" is no number that is missing.
    csv.field_size_limit(_LONGEST_LINE)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        names = next(lines, [])
        if len(set(names)) < len(names):
            raise LaloraError(f"{path}:1: the column '{_twice(names)}' is there twice")
        for cells in lines:
            if cells and len(cells) != len(names):
                raise LaloraError(f"{path}:{lines.line_num}: {len(cells)} cells; the first line names {len(names)}")
            if cells:
                yield f"{path}:{lines.line_num}", dict(zip(names, cells, strict=True))


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise LaloraError(f"cannot read {path}: {one_line(error, 200)}") from error
    for number, row in enumerate(rows):
        yield f"{path} row {number}", row
