"""The design: a room imports only from rooms above it, and the rooms that the library needs not from the lab's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lalora

ROOMS = (
    "engines",
    "text",
    "curvature",
    "fisher",
    "laplace",
    "checking",
    "planning",
    "scoring",
    "softening",
    "methods",
    "posthoc",
    "training",
    "integrations",
    "assets",
    "domains",
    "evaluation",
    "results",
    "study",
)
BELOW = ("report", "cli")
SHARED = (
    "adapter",
    "batches",
    "complaint",
    "completion",
    "errors",
    "extras",
    "files",
    "hub",
    "marked_yaml",
    "next_token",
    "options",
    "processes",
    "progress",
    "switched_off",
    "tensor_names",
    "undisturbed",
    "version",
)
SOURCE = Path(lalora.__file__).parent


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("lalora.")}
    return found


@pytest.mark.parametrize("room", [*ROOMS, *BELOW])
def test_a_room_imports_only_from_above(room: str) -> None:
    rooms = [*ROOMS, *BELOW]
    allowed = {*SHARED, *rooms[: rooms.index(room) + 1]}
    wrong = {
        f"{file.relative_to(SOURCE)}: {name}"
        for file in (SOURCE / room).rglob("*.py")
        for name in imported(file) - allowed
    }
    assert not wrong


def test_a_report_needs_what_was_found_and_nothing_that_found_it() -> None:
    found = {name for file in (SOURCE / "report").rglob("*.py") for name in imported(file)}
    assert found <= {"report", "results", *SHARED}


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == {*ROOMS, *BELOW}


JOURNEY = ("recipe", "store", "setup", "run", "runners", "dry_run")


@pytest.mark.parametrize("stage", [*JOURNEY, "single"])
def test_a_study_goes_one_way(stage: str) -> None:
    allowed = {*JOURNEY[: JOURNEY.index(stage) + 1]} if stage in JOURNEY else {*JOURNEY[:4], "single"}
    wrong = [
        f"{file.name}: {node.module}"
        for file in (SOURCE / "study" / stage).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("lalora.study.")
        and (node.module or "").split(".")[2] not in allowed
    ]
    assert not wrong
