"""Rows as prompts and completions, worded by the harness's own task definitions."""

import logging
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lalora.domains.checked import Placed, Worded
from lalora.domains.domain import Domain
from lalora.domains.task_files import load_task, write_task
from lalora.domains.templates import in_sandbox
from lalora.domains.wording import worded
from lalora.errors import LaloraError, one_line, short
from lalora.extras import named_if_missing
from lalora.text import Example, Row


def examples(domain: Domain, rows: Sequence[Row]) -> list[Example]:
    """Word rows exactly as the harness does when it scores them, the right answer being the completion.

    Args:
        domain: what the rows are rows of.
        rows: rows with the domain's columns.

    Returns:
        One example a row, in the same order. Plain text has an empty prompt.

    Raises:
        LaloraError: a row does not fit the task.
    """
    if all(isinstance(row, Worded) for row in rows):
        return [row.example for row in rows if isinstance(row, Worded)]
    if domain.task is None:
        return [Example("", row["text"], where=_place(rows, number)) for number, row in enumerate(rows)]
    with opened(domain, rows) as (task, docs):
        found = []
        for number, doc in enumerate(docs):
            try:
                found.append(replace(worded(task, doc), where=_place(rows, number)))
            except Exception as error:  # the task's own templates and functions fail in many ways
                raise LaloraError(_misfit(domain, rows, number, error)) from error
    return found


@contextmanager
def opened(domain: Domain, rows: Sequence[Row]) -> Generator[tuple[Any, list[Row]], None, None]:
    """Open the task of a domain with rows as its test split; its templates run in a sandbox meanwhile.

    Args:
        domain: one that has a task.
        rows: at least one.

    Yields:
        The harness's task, and the rows as it read them.

    Raises:
        LaloraError: the rows do not fit the task.
    """
    with tempfile.TemporaryDirectory(prefix="lalora-") as name, quiet(), in_sandbox():
        try:
            task = load_task(Path(name), write_task(domain, rows, Path(name)))
            docs = list(task.test_docs())
        except LaloraError:
            raise
        except Exception as error:
            number = _culprit(domain, rows)
            raise LaloraError(_misfit(domain, rows, number, error)) from error
        yield task, docs


def _culprit(domain: Domain, rows: Sequence[Row]) -> int | None:
    # The harness reads all rows at once: halving them finds the one that it cannot read, if it is one alone.
    first, last = 0, len(rows)
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (middle, last) if _readable(domain, rows[first:middle]) else (first, middle)
    return None if _readable(domain, rows[first:last]) else first


def _readable(domain: Domain, rows: Sequence[Row]) -> bool:
    with tempfile.TemporaryDirectory(prefix="lalora-") as name:
        try:
            return bool(list(load_task(Path(name), write_task(domain, rows, Path(name))).test_docs()))
        except Exception:
            return False


def _misfit(domain: Domain, rows: Sequence[Row], number: int | None, error: Exception) -> str:
    reason = short(one_line(error))
    if number is None:
        return f"{domain.name}: the rows do not fit the task {domain.task} ({reason})"
    return (
        f"{domain.name}: {_place(rows, number)} does not fit the task {domain.task} ({reason}); "
        f"correct or remove it: {short(str(dict(rows[number])))}"
    )


def _place(rows: Sequence[Row], number: int) -> str:
    row = rows[number]
    return row.where if isinstance(row, Placed) else f"row {number}"


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Hide progress bars, which a second of reading does not need, and the harness's remarks on a task's defaults."""
    with named_if_missing():
        import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    remarks = logging.getLogger("lm_eval")
    level = remarks.level
    remarks.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        remarks.setLevel(level)
        if not hidden:
            datasets.enable_progress_bars()
