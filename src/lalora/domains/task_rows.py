"""The rows of any task of the harness, worded by it."""

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lalora.domains.checked import Placed, Worded
from lalora.domains.domain import Domain, Role
from lalora.domains.harness_task import HarnessTask
from lalora.domains.known_tasks import known_task
from lalora.domains.metrics import accuracy_of
from lalora.domains.own import task_domain
from lalora.domains.own_task import read_own_task
from lalora.domains.places import Splits
from lalora.domains.prompts import opened, quiet
from lalora.domains.task_definition import TaskDefinition
from lalora.domains.task_files import load_task, written
from lalora.domains.templates import in_sandbox
from lalora.domains.wording import UnansweredError, asked, worded
from lalora.errors import LaloraError, one_line, short
from lalora.hub import reason, why_unavailable
from lalora.text import Row, read_rows

_MOST = 10_000
"""Rows of a split: so many are worded in seconds, and no study takes more."""


def task_definition(given: HarnessTask) -> TaskDefinition:
    """Find what is known of a task before its data are looked at.

    Args:
        given: the task.

    Returns:
        What is known.

    Raises:
        LaloraError: there is no such task, or its file holds what it may not.
    """
    return read_own_task(Path(given.task)) if given.is_file else known_task(given.task)


def from_task(name: str, role: Role | None, given: HarnessTask) -> tuple[Domain, Splits, list[str]]:
    """Read and word the rows of a task of the harness.

    Args:
        name: of the domain.
        role: what it is for.
        given: the task.

    Returns:
        The domain, its rows, and what a reader of results has to be told.

    Raises:
        LaloraError: there is no such task, its data cannot be had, or its rows do not fit it.
    """
    domain = task_domain(name, role, given)
    definition = task_definition(given)
    domain = replace(domain, definition=definition.content)
    splits = [one for one in (definition.learned, definition.scored) if one is not None]
    docs = _files(definition, splits) if definition.files else _fetched(domain, definition, given)
    notes = []
    for split, rows in docs.items():
        if len(rows) > _MOST:
            docs[split] = random.Random(split).sample(rows, _MOST)
            notes.append(f"{name}: {_MOST:,} of the {len(rows):,} rows of the split {split} are used.")
    metric, every = _worded(domain, [row for split in splits for row in docs[split]])
    first, left = len(docs[splits[0]]), sum(row is None for row in every)
    if left:
        notes.append(f"{name}: {left:,} rows without a right answer are left out.")
    parts: list[list[Row]] = [[row for row in part if row is not None] for part in (every[:first], every[first:])]
    train, test = (None, parts[0]) if definition.learned is None else parts
    if not test:
        raise LaloraError(f"{name}: no row of the split {definition.scored} of {given.task} has a right answer")
    if not train and domain.role != "held-out":
        notes.append(
            f"{name}: the task {given.task} has no other split with answers, so that this one is divided; a score on a "
            "part of it is not comparable with published ones."
        )
    return replace(domain, metric=metric), (train or None, test), notes


def _files(definition: TaskDefinition, splits: Sequence[str]) -> dict[str, list[Placed]]:
    found = {
        split: [Placed(row, where) for file in definition.files[split] for where, row in read_rows(file)]
        for split in splits
    }
    for split, rows in found.items():
        if not rows:
            raise LaloraError(f"{definition.files[split][0]} is empty: the split {split} needs at least one row")
    return found


def _fetched(domain: Domain, definition: TaskDefinition, given: HarnessTask) -> dict[str, list[Placed]]:
    what = f"{domain.name}: cannot load the task {given.task}"
    if definition.hub and (why := why_unavailable(definition.hub, "dataset")):
        raise LaloraError(f"{what}, whose data are '{definition.hub}' on the Hugging Face hub ({why}){_INSTEAD}")
    found: dict[str, list[Placed]] = {}
    with tempfile.TemporaryDirectory(prefix="lalora-") as folder, quiet(), in_sandbox():
        try:
            task = load_task(Path(folder), written(f"lalora_{domain.name}", definition.content, Path(folder)))
            config = task.config
            for split, docs in (
                (config.training_split, task.training_docs),
                (config.validation_split, task.validation_docs),
                (config.test_split, task.test_docs),
            ):
                if split is not None and split in (definition.learned, definition.scored):
                    found[split] = [Placed(doc, f"{given.task} {split} row {n}") for n, doc in enumerate(docs())]
        except Exception as error:  # the data's library and the task's functions raise errors of many kinds
            raise LaloraError(f"{what} ({reason(error)}){_INSTEAD}") from error
    return found


_INSTEAD = "; with data on this machine, write a task of your own: dataset_path: json and data_files"


def _worded(domain: Domain, rows: Sequence[Placed]) -> tuple[str | None, list[Row | None]]:
    for row in rows:
        try:
            json.dumps(row)
        except (TypeError, ValueError) as error:
            raise LaloraError(f"{row.where}: holds what is no text ({one_line(error)}): it cannot be used") from error
    found: list[Row | None] = []
    with opened(domain, rows) as (task, docs):
        metric = accuracy_of(task)
        for row, doc in zip(rows, docs, strict=True):
            try:
                found.append(_row(task, row, doc))
            except Exception as error:  # as above
                why = f"{row.where} does not fit the task ({short(one_line(error))})"
                raise LaloraError(f"{domain.name}: {why}: {short(str(dict(row)))}") from error
    return metric, found


def _row(task: Any, row: Placed, doc: Any) -> Row | None:
    try:
        example = replace(worded(task, doc), where=row.where)
    except UnansweredError:
        return None
    return Worded(row, example, asked(task, doc, example)) if example.completion.strip() else None
