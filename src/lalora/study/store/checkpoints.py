"""Which of the Trainer's checkpoints can be trusted after a kill."""

import shutil
from pathlib import Path

from lalora.files import parse_json, read_small

_MOST_DIGITS = 16


def newest_complete(folder: Path) -> tuple[int, Path] | None:
    """Find the newest checkpoint that was written to its end.

    The Trainer writes a checkpoint in place and `trainer_state.json` last: a folder without it, or with half of it,
    belongs to a process that was killed while writing.
    """
    complete = [(step, path) for step, path in _checkpoints(folder) if _is_complete(step, path)]
    return max(complete, default=None)


def drop_others(folder: Path, keep: Path | None) -> None:
    """Delete every checkpoint but one."""
    for _, path in _checkpoints(folder):
        if path != keep:
            shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    found = []
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-")
        if step.isascii() and step.isdecimal() and len(step) < _MOST_DIGITS and path.is_dir():
            found.append((int(step), path))
    return found


def _is_complete(step: int, path: Path) -> bool:
    try:
        state = parse_json(read_small(path / "trainer_state.json"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and type(state.get("global_step")) is int and state["global_step"] == step
