"""A run that fails with any error stops no other, is told at the end with its cause, and is kept as failed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora.errors import RunsFailedError, UnexpectedError
from lalora.methods.l2 import L2
from lalora.study import load_recipe, run_study
from lalora.study.runners import in_processes
from lalora.study.setup.open_context import open_context

GRID = [{"method": "l2", "strength": [1.0]}, {"method": "lora"}]


def broken(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError("in a method")


def test_the_others_are_finished(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder, said = load_recipe(recipe_file(grid=GRID, evaluate_at=[])), tmp_path / "study", []
    with monkeypatch.context() as patch:
        patch.setattr(L2, "after_backward", broken)
        with pytest.raises(
            RunsFailedError, match=r"ZeroDivisionError: in a method, at lalora/.*1 of 2 runs are"
        ) as caught:
            run_study(recipe, folder, "", said.append)
    assert isinstance(caught.value.__cause__, UnexpectedError)
    failed = next(plan for plan in recipe.runs if plan.method == "l2")
    kept = json.loads((folder / failed.name / "failed.json").read_text())
    assert "ZeroDivisionError: in a method" in kept["error"]
    assert "in broken" in kept["traceback"]
    assert any("l2" in line.lower() and "ZeroDivisionError" in line for line in said)
    assert len(json.loads((folder / "results.json").read_text())["runs"]) == 1
    assert len(run_study(recipe, folder, "", said.append)["runs"]) == 2
    assert not (folder / failed.name / "failed.json").exists()


def test_an_interruption_ends_all(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(L2, "after_backward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(load_recipe(recipe_file(grid=GRID, evaluate_at=[])), tmp_path / "study", "", print)


def test_in_worker_processes_too(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = load_recipe(recipe_file(grid=GRID, evaluate_at=[])), tmp_path / "study"
    folder.mkdir()
    common = open_context(recipe, folder, print).common
    monkeypatch.setattr(in_processes, "train_run", broken)
    failure = pickle.loads(pickle.dumps(in_processes.do(recipe, folder, recipe.runs[0].name, common)))
    assert isinstance(failure, UnexpectedError)
    assert str(failure).startswith("ZeroDivisionError: in a method, at lalora/study/runners/in_processes.py:")
    assert "in broken" in failure.trace
