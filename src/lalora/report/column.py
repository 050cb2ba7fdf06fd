"""A table, declared once for the terminal, the page, and files for other programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lalora.report.formatting import MISSING

_MOST_CARDS = 6


@dataclass(frozen=True)
class Column:
    """A column: the field of a row that it shows, its title, how a value is written.

    `short` is its title in the terminal, which leaves out a column that has none. `value` finds what is no field.
    """

    field: str
    title: str
    write: Callable[[Any], str] = str
    short: str | None = None
    value: Callable[[Any], Any] | None = None
    is_text: bool = False

    def of(self, row: Any) -> Any:
        """Returns the value in a row."""
        return self.value(row) if self.value else getattr(row, self.field)

    def numbers(self, row: Any) -> dict[str, Any]:
        """Returns what other programs read of a row, by field."""
        return {self.field: self.of(row)}

    def text(self, row: Any) -> str:
        """Returns the value in a row as written."""
        return self.write(self.of(row))


@dataclass(frozen=True)
class Table:
    """Rows in sections, each with a title that may be empty; the first column names a row.

    `title` and `caption` stand above and below it in the terminal, `prose` on the page. Rows of runs have a
    place `run` among those of the study, None for the base model. A `file` is the name under which it is also written
    as CSV, with the `more` fields of a row, Markdown and LaTeX.
    """

    columns: Sequence[Column]
    sections: Sequence[tuple[str, Sequence[Any]]]
    title: str = ""
    caption: str = ""
    prose: str = ""
    of_runs: bool = False
    file: str = ""
    more: Sequence[str] = ()

    @property
    def told(self) -> list[Column]:
        """The columns in which something stands: the first, and those with a value in some row."""
        first, *others = self.columns
        return [first, *(one for one in others if any(one.text(row) != MISSING for row in self.rows))]

    @property
    def is_long(self) -> bool:
        """Whether its rows are too many to be cards, one below the other, on a narrow screen."""
        return len(self.rows) > _MOST_CARDS

    @property
    def rows(self) -> list[Any]:
        """All rows, whatever their section."""
        return [row for _, rows in self.sections for row in rows]
