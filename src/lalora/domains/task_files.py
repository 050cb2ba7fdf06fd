"""The harness's own task definitions, with their data redirected to rows at hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lalora.domains.domain import Domain
from lalora.domains.domain_data import DomainData
from lalora.domains.known_tasks import tasks_folder
from lalora.errors import LaloraError
from lalora.extras import named_if_missing
from lalora.files import write_atomically
from lalora.text import Row

_PREFIX = "lalora_"
_OF_PROCESSED_ROWS = {"process_docs": None, "custom_dataset": None, "fewshot_config": None}


@dataclass(frozen=True)
class ScoredTask:
    """A task of the harness that scores the rows of a domain.

    Attributes:
        name: that the harness knows it by.
        metric: that is reported of it, with its filter.
        definition: what its YAML file holds.
    """

    name: str
    metric: str
    definition: bytes


def harness_tasks(data: Sequence[DomainData], folder: Path) -> dict[str, ScoredTask]:
    """Write tasks that score the rows of domains, for a `TaskManager(include_path=folder)`.

    Args:
        data: the domains; those that have no accuracy are passed over.
        folder: where the YAML and JSON-Lines files go; made where it is missing.

    Returns:
        The task for each domain's name.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for item in data:
        metric = item.domain.metric
        if metric is not None:
            name = write_task(item.domain, item.test, folder)
            full = metric if "," in metric else f"{metric},none"
            found[item.domain.name] = ScoredTask(name, full, _file(folder, name).read_bytes())
    return found


def write_task(domain: Domain, rows: Sequence[Row], folder: Path) -> str:
    """Write one task that inherits everything from the harness's but the data.

    Args:
        domain: a domain that has a task.
        rows: the rows that the task is about.
        folder: an existing folder, as an absolute path.

    Returns:
        The name of the task.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    name = f"{_PREFIX}{domain.name}"
    data = folder / f"{name}.jsonl"
    write_atomically(data, lines.encode())
    return written(name, _redirected(domain, data), folder)


def written(name: str, content: Mapping[str, Any], folder: Path) -> str:
    """Write the YAML of a task.

    Args:
        name: that the harness is to know it by.
        content: what it says besides.
        folder: an existing folder.

    Returns:
        The name.
    """
    write_atomically(_file(folder, name), yaml.safe_dump({**content, "task": name}, sort_keys=False).encode())
    return name


def require_own_tasks(tasks: Mapping[str, ScoredTask], folder: Path) -> None:
    """Refuse a folder whose tasks are others than what was written: a task's YAML may run code.

    Args:
        tasks: what `harness_tasks` wrote.
        folder: where it wrote them.

    Raises:
        LaloraError: a definition was changed, or there is one that was not written here.
    """
    own = {_file(folder, task.name): task.definition for task in tasks.values()}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".yaml", ".yml") and own.get(path) != path.read_bytes():
            raise LaloraError(f"{path} is no task that lalora wrote, and could run code: remove it")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.yaml"


def _redirected(domain: Domain, data: Path) -> dict[str, Any]:
    return {
        **(_inherited(domain) if domain.definition is None else {**domain.definition, **_OF_PROCESSED_ROWS}),
        "tag": [],
        "dataset_path": "json",
        "dataset_name": None,
        # The cache lies beside the data: it must not outlive it, nor serve it to another study.
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(data.parent / "cache")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": None,
        "num_fewshot": 0,
    }


def _inherited(domain: Domain) -> dict[str, Any]:
    definition = tasks_folder() / str(domain.task_file)
    if not definition.is_file():
        raise LaloraError(f"the installed lm-eval has no task {domain.task} at {definition}; install lm-eval 0.4.13")
    return {"include": str(definition)}


def load_task(folder: Path, name: str) -> Any:
    """Build a task that was written to a folder.

    Args:
        folder: the folder.
        name: the task's name.

    Returns:
        The harness's task object.
    """
    with named_if_missing():
        from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"][name]
