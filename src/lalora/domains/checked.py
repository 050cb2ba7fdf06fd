"""Make sure that rows have what a domain needs."""

from collections.abc import Iterable
from typing import Any

from lalora.domains.domain import Domain
from lalora.errors import LaloraError
from lalora.text import Example, Row, known_columns


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


class Worded(Placed):
    """A row of a task of the harness, with the words that the harness makes of it."""

    def __init__(self, row: Row, example: Example, asked: str) -> None:
        """Keep a row and its words.

        Args:
            row: its columns.
            example: it as prompt and completion.
            asked: what is asked, the same for rows that ask the same.
        """
        super().__init__(row, example.where)
        self.example = example
        self.asked = asked


def checked(domain: Domain, rows: Iterable[tuple[str, Any]], origin: str) -> list[Row]:
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
    if domain.rows is not None:
        given = domain.rows
        rows = ((where, given.taken(row, where)) for where, row in rows)
    if domain.own:
        return _own(domain, rows, origin)
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


def _own(domain: Domain, rows: Iterable[tuple[str, Any]], origin: str) -> list[Row]:
    known = ((where, known_columns(row, where)) for where, row in rows)
    kept: list[Row] = [Placed(row, where) for where, row in known if row is not None]
    if not kept:
        raise LaloraError(f"{origin} is empty; {domain.name} needs at least one row")
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
