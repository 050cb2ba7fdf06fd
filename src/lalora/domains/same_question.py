"""Which rows ask the same, so that no question is learned and scored."""

import hashlib
import json
from collections.abc import Iterable, Sequence

from lalora.domains.checked import Worded
from lalora.domains.domain import Domain
from lalora.text import Row


def identity(domain: Domain, row: Row) -> str:
    """Tell what a row asks; rows that differ in case or white space only ask the same.

    Args:
        domain: what it is a row of.
        row: the row.

    Returns:
        The same text for rows that ask the same.
    """
    text = row.asked if isinstance(row, Worded) else text_of(row, domain.identity or None)
    if domain.own:  # in JSON a line break is two letters
        text = text.replace("\\n", " ")
    return " ".join(text.casefold().split())


def family(domain: Domain, row: Row) -> tuple[str, ...]:
    """Name the rows that never fall on both sides of a split.

    Args:
        domain: what it is a row of.
        row: one of them.

    Returns:
        The name of its family.
    """
    if domain.own or isinstance(row, Worded):
        return (identity(domain, row),)
    return tuple(sorted(" ".join(str(row[column]).casefold().split()) for column in domain.family))


def share(domain: Domain, row: Row) -> float:
    """Draw a number that is fixed for the family of a row.

    Args:
        domain: what it is a row of.
        row: the row.

    Returns:
        The number, in [0, 1).
    """
    # One file of a user's own is divided alike under every name.
    named = [] if domain.own or isinstance(row, Worded) else [domain.name]
    return int(sha([*named, *family(domain, row)])[:8], 16) / 16**8


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Put rows into an order fixed by their content.

    Args:
        rows: in any order.

    Returns:
        The rows.
    """
    return sorted(rows, key=lambda row: (sha([text_of(row)]), text_of(row)))


def text_of(row: Row, columns: Sequence[str] | None = None) -> str:
    """Write a row as text.

    Args:
        row: the row.
        columns: those that count; None for all.

    Returns:
        The text.
    """
    chosen = row if columns is None else {column: row[column] for column in columns}
    return json.dumps(chosen, sort_keys=True, ensure_ascii=False, default=str)


def sha(texts: Iterable[str]) -> str:
    """Hash texts.

    Args:
        texts: in their order.

    Returns:
        The SHA-256, in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for text in texts:
        # JSON can spell half a surrogate pair, which no encoding takes.
        digest.update(text.encode(errors="replace") + b"\n")
    return digest.hexdigest()
