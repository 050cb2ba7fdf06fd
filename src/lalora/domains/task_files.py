"""The harness's own task definitions, with their data redirected to rows at hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lalora.domains.catalogue import DOMAINS
from lalora.domains.domain import Domain
from lalora.domains.load import DomainData
from lalora.domains.own import domain_named
from lalora.domains.own_rows import MULTIPLE_CHOICE, OwnRows
from lalora.errors import LaloraError
from lalora.extras import named_if_missing
from lalora.files import write_atomically
from lalora.text import Row

_PREFIX = "lalora_"


def harness_tasks(data: Sequence[DomainData], folder: Path) -> dict[str, str]:
    """Write tasks that score the rows of domains, for a `TaskManager(include_path=folder)`.

    Args:
        data: the domains; those without a task are passed over.
        folder: where the YAML and JSON-Lines files go; made where it is missing.

    Returns:
        The name of the task for each domain's name.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return {
        item.domain.name: write_task(item.domain, item.test, folder) for item in data if item.domain.task is not None
    }


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
    name, content = _definition(domain, folder)
    write_atomically(folder / f"{name}.jsonl", lines.encode())
    write_atomically(folder / f"{name}.yaml", content)
    return name


def require_own_tasks(folder: Path) -> None:
    """Refuse a folder whose tasks are others than what was written: a task's YAML may run code.

    Args:
        folder: where `write_task` wrote them.

    Raises:
        LaloraError: a definition was changed, or there is one that was not written here.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".yaml", ".yml") and _own(path, folder) != path.read_bytes():
            raise LaloraError(f"{path} is no task that lalora wrote, and could run code: remove it")


def _own(path: Path, folder: Path) -> bytes | None:
    name = path.stem.removeprefix(_PREFIX)
    if path != folder / f"{_PREFIX}{name}.yaml":
        return None
    try:
        domain = DOMAINS.get(name) or domain_named(name, rows=OwnRows(path="own", kind=MULTIPLE_CHOICE))
    except LaloraError:
        return None
    return _definition(domain, folder.absolute())[1] if domain.task else None


def _definition(domain: Domain, folder: Path) -> tuple[str, bytes]:
    with named_if_missing():
        import lm_eval.tasks

    definition = Path(lm_eval.tasks.__file__).parent / str(domain.task_file)
    if not definition.is_file():
        raise LaloraError(f"the installed lm-eval has no task {domain.task} at {definition}; install lm-eval 0.4.13")
    name = f"{_PREFIX}{domain.name}"
    data = folder / f"{name}.jsonl"
    task: dict[str, Any] = {
        "include": str(definition),
        "task": name,
        "tag": [],
        "dataset_path": "json",
        "dataset_name": None,
        # The cache lies beside the data: it must not outlive it, nor serve it to another study.
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": None,
        "num_fewshot": 0,
    }
    return name, yaml.safe_dump(task, sort_keys=False).encode()


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
