"""What an unfinished study keeps until its results are put together: a heading, and the result of each run."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lalora.files import parse_json, read_small, write_json

RESULTS = "results.json"
STATE = "state/study.json"
Content = dict[str, Any]


def keep_result(folder: Path, name: str, result: Content) -> None:
    """Writes the result of a run, once or when more is known of it."""
    _write(_place(folder, name), result)


def keep_state(folder: Path, heading: Content, runs: Sequence[str]) -> None:
    """Writes what the whole study has in common, and the names of the runs that have a result."""
    _write(folder / STATE, {**heading, "runs": list(runs)})


def so_far(folder: Path, state: Content) -> Content:
    """Returns the content of a state with the results of its runs in the place of their names."""
    names = state.get("runs")
    if not isinstance(names, list):
        return state
    # A name that somebody else wrote there leads nowhere else.
    here = [name for name in names if isinstance(name, str) and Path(name).name == name]
    found = [_read(_place(folder, name)) for name in here]
    return {**state, "runs": [result for result in found if result is not None]}


def drop_state(folder: Path) -> None:
    """Removes what was kept."""
    (folder / STATE).unlink()  # first: without it nothing else there counts
    shutil.rmtree((folder / STATE).parent)


def _place(folder: Path, name: str) -> Path:
    return (folder / STATE).with_name(f"run {name}.json")


def _read(path: Path) -> Any:
    try:
        return parse_json(read_small(path))
    except (OSError, ValueError):
        return None


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(exist_ok=True)
    write_json(path, content)
