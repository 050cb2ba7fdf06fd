"""The tasks that come with lm-evaluation-harness, found by name without importing it."""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lalora.domains.task_definition import TaskDefinition, splits_of
from lalora.errors import LaloraError, short
from lalora.extras import how_to_install
from lalora.hub import is_id

# 14,000 files: read as YAML they would take minutes.
_NAMED = re.compile(rb"^[\"']?(task|group|tag)[\"']? *: *[\"']?([^\s\"'#\[{]+)[\"']? *(?:#.*)?$", re.MULTILINE)
_TAGS = re.compile(rb"^[\"']?tag[\"']? *: *\n((?: *- .+\n)+)", re.MULTILINE)

_NO_DOMAINS = {
    "class": "is written in Python and has no templates for its rows",
    "unsafe_code": "runs the code that a model writes",
    "doc_to_image": "has images in its rows",
    "doc_to_audio": "has sound in its rows",
}


class _Loader(yaml.SafeLoader):
    """Reads names of functions as text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix} {node.value}")


def tasks_folder() -> Path:
    """Find where lm-eval keeps its tasks.

    Returns:
        The folder.

    Raises:
        LaloraError: lm-eval is not installed.
    """
    found = importlib.util.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise LaloraError(how_to_install("lm_eval"))
    return Path(found.submodule_search_locations[0]) / "tasks"


def known_task(name: str) -> TaskDefinition:
    """Find a task that comes with lm-eval.

    Args:
        name: of one task.

    Returns:
        What is known of it.

    Raises:
        LaloraError: there is no such task, it is a group of tasks, or one that cannot be a domain.
    """
    tasks, groups = _index()
    if name in tasks:
        return _checked(name, tasks[name])
    if name in groups:
        some = [one for one in tasks if one.startswith(name + "_")][:2]
        such = f", such as {' and '.join(some)}" if some else ""
        raise LaloraError(f"{name} is a group of tasks in lm-eval: give each of its tasks as a domain of its own{such}")
    close = difflib.get_close_matches(name, tasks, n=1)
    hint = f": did you mean '{close[0]}'?" if close else "; `lm-eval ls tasks` lists them"
    raise LaloraError(f"lm-eval has no task '{short(name)}'{hint}")


def _checked(name: str, path: Path) -> TaskDefinition:
    task = _read(path)
    for key, why in _NO_DOMAINS.items():
        if task.get(key) not in (None, False):
            raise LaloraError(f"the task {name} of lm-eval {why}: it cannot be a domain")
    learned, scored = splits_of(task, f"the task {name} of lm-eval")
    place = task.get("dataset_path")
    hub = place if isinstance(place, str) and is_id(place) and not task.get("custom_dataset") else None
    return TaskDefinition({"include": str(path)}, learned, scored, hub, {})


@cache
def _index() -> tuple[dict[str, Path], frozenset[str]]:
    tasks, groups = dict[str, Path](), set[str]()
    for path in sorted(tasks_folder().rglob("*.yaml")):
        content = path.read_bytes()
        for kind, name in _NAMED.findall(content):
            if kind == b"task":
                tasks.setdefault(name.decode(), path)
            else:
                groups.add(name.decode())
        for several in _TAGS.findall(content):
            groups |= {line.strip(" -\"'") for line in several.decode().splitlines()}
    return tasks, frozenset(groups)


def _read(path: Path) -> dict[str, Any]:
    own: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    included = own.pop("include", [])
    found: dict[str, Any] = {}
    for one in included if isinstance(included, list) else [included]:
        found |= _read(path.parent / one)
    return found | own
