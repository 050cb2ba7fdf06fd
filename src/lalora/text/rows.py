"""Rows of whatever holds text: lists, data sets, streams, files, folders; each with where it stands."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lalora.errors import LaloraError, one_line, short
from lalora.text.files import KINDS, kind_of, read_rows

_PROSE = ".txt"
TEXT_KINDS = (*KINDS, _PROSE)
"""How the names of files of text end."""
_MOST_BYTES = 1 << 30
_WHAT = (
    "strings, rows with 'text', 'prompt' and 'completion', 'messages' or 'input_ids', a data set of such rows, or the "
    f"path of a file or a folder ({', '.join(TEXT_KINDS)})"
)


def rows_of(data: Any, seed: int) -> Iterator[tuple[str, Any]]:
    """Go through the rows: those that can be counted in an order drawn at random, those of a stream as they come."""
    if isinstance(data, str | Path):
        found = list(rows_in(Path(data)))
        return iter(random.Random(f"rows {seed}").sample(found, len(found)))
    if hasattr(data, "to_dict") and hasattr(data, "iloc"):
        raise LaloraError("the text is a pandas object: give data.to_dict('records'), or list(column)")
    if isinstance(data, Mapping):
        splits = ", ".join(f"['{name}']" for name in data)
        raise LaloraError(f"the text is a mapping of {splits}: give one of them, or [row] if it is a single row")
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return ((f"row {place}", data[place]) for place in _shuffled(len(data), seed))
    if hasattr(data, "__iter__"):
        return ((f"row {place}", row) for place, row in enumerate(data))
    raise LaloraError(f"the text is a {type(data).__name__}: give {_WHAT}")


def _shuffled(count: int, seed: int) -> Iterator[int]:
    # Fisher and Yates, a step at a time: the first of millions cost no more than of hundreds.
    draw, moved = random.Random(f"rows {seed}"), dict[int, int]()
    for place in range(count):
        other = draw.randrange(place, count)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def rows_in(path: Path) -> Iterator[tuple[str, Any]]:
    """Read a file, or all files of a folder; of a `.txt` file each paragraph is a row."""
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.name.endswith(TEXT_KINDS))
        if not files:
            raise LaloraError(f"{path} holds no file of text: {', '.join(TEXT_KINDS)}")
        for file in files:
            yield from rows_in(file)
    elif path.suffix == _PROSE:
        yield from _paragraphs(path)
    elif kind_of(path) is None and not path.exists():
        raise LaloraError(f"the text '{short(str(path))}' is no file or folder: a text itself stands in a list, [text]")
    else:
        yield from read_rows(path)


def _paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise LaloraError(f"{path} is no regular file of at most {_MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LaloraError(f"cannot read {path}: {one_line(error, 200)}") from error
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text), start=1):
        yield f"{path}, paragraph {number}", paragraph.strip("\n")
