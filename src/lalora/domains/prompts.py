"""Rows as prompts and completions, worded by the harness's own task definitions."""

import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lalora.domains.domain import Domain
from lalora.domains.harness import load_task, write_task
from lalora.domains.read import Row
from lalora.errors import LaloraError


@dataclass(frozen=True)
class Example:
    """A text in two parts.

    Attributes:
        prompt: what is given; its tokens carry no loss.
        completion: what follows; its tokens carry the loss.
        ends: whether the text is over after the completion, so that the model has to learn to stop there.
    """

    prompt: str
    completion: str
    ends: bool = False


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
    if domain.task is None:
        return [Example("", row["text"]) for row in rows]
    if not rows:
        return []
    with tempfile.TemporaryDirectory(prefix="lalora-") as name, _quiet():
        folder = Path(name)
        try:
            task = load_task(folder, write_task(domain, rows, folder))
            docs = list(task.test_docs())
        except LaloraError:
            raise
        except Exception as error:
            raise LaloraError(f"{domain.name}: the rows do not fit the task {domain.task} ({error})") from error
        worded = []
        for number, doc in enumerate(docs):
            try:
                worded.append(_worded(task, doc))
            except Exception as error:  # the task's own templates and functions fail in many ways
                raise LaloraError(
                    f"{domain.name}: row {number} does not fit the task {domain.task} ({error}): {rows[number]}"
                ) from error
    return worded


def _worded(task: Any, doc: Row) -> Example:
    between = task.config.target_delimiter
    if task.OUTPUT_TYPE == "generate_until":
        return Example(task.doc_to_text(doc), between + task.doc_to_target(doc), ends=True)
    choices = task.doc_to_choice(doc)
    if task.multiple_input:
        # Partial evaluation: the choice stands in the prompt, the completion is the same for all.
        return Example(choices[task.doc_to_text(doc)], between + task.doc_to_target(doc))
    return Example(task.doc_to_text(doc), between + choices[task.doc_to_target(doc)])


@contextmanager
def _quiet() -> Generator[None, None, None]:
    # A second of reading needs no progress bars.
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()
