"""A study that is killed with SIGKILL at random moments, again and again, ends as one that was left in peace."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hostile.sandbox import Sandbox
from hostile.started import Started
from lalora.methods import METHODS
from lalora.study import load_recipe
from lalora.study.store.records import read_json
from tiny_study import outcome

Start = Callable[..., Started]

# Three values of the knob of each method that has one.
STRENGTHS: dict[str, dict[str, Any]] = {
    "lora": {"learning_rate": [0.003, 0.01, 0.03]},
    "lalora": {"strength": [1, 10, 100]},
    "ewc-lora": {"strength": [1, 10, 100]},
    "l2": {"strength": [0.001, 0.01, 0.1]},
    "l2-b": {"strength": [0.001, 0.01, 0.1]},
    "l2-weight": {"strength": [0.001, 0.01, 0.1]},
    "migu": {"threshold": [0.3, 0.5, 0.7]},
    "milora": {"learning_rate": [0.003, 0.01, 0.03]},
    "corda": {"learning_rate": [0.0003, 0.001, 0.003]},
    "flat-lora": {"rho": [0.05, 0.1, 0.2]},
    "replay": {"share": [0.2, 0.3, 0.4]},
    "kl": {"strength": [1, 3, 10]},
    "intruders": {"removed": [0.25, 0.5, 0.75]},
}
CHANGING = {"dropout": 0.1, "steps": 6}


def every_method() -> list[dict[str, Any]]:
    """Every method, and LaLoRA with each curvature."""
    curvatures = ["kfac", "tri-kfac", "weight-kfac", "weight-diagonal"]
    more = {"method": "lalora", "curvature": curvatures, **STRENGTHS["lalora"]}
    return [*({"method": name, **knob} for name, knob in STRENGTHS.items()), more]


@pytest.fixture
def start(sandbox: Sandbox) -> Start:
    """Starts a study in a process group of its own."""

    def started(recipe: str, folder: Path, said: Path, *more: str) -> Started:
        environment = {"LALORA_HOME": str(folder.parent / "home")}
        return sandbox.start(
            "hostile.undrawn", "run", recipe, "--out", folder, *more, environment=environment, said=said
        )

    return started


def finished(folder: Path) -> dict[Path, int]:
    """The runs that are done, and when each was."""
    return {path.parent: path.stat().st_mtime_ns for path in folder.glob("*/done.json")}


def undisturbed(start: Start, recipe: str, folder: Path, said: Path, *more: str) -> dict[str, bytes]:
    assert start(recipe, folder, said, *more).wait() == 0, said.read_text()[-2000:]
    return outcome(folder)


def killed(
    start: Start, recipe: str, folder: Path, said: Path, moments: Sequence[float], *more: str
) -> dict[str, bytes]:
    """Kills the study each time when so many seconds have gone by since it began to write, then lets it end."""
    for moment in moments:
        before = finished(folder)
        process = start(recipe, folder, said, *more)
        while not list(folder.glob("*/metrics.jsonl")) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moment)
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        after = finished(folder)
        assert {run: after[run] for run in before} == before
    before = finished(folder)
    found = undisturbed(start, recipe, folder, said, *more)
    assert {run: finished(folder)[run] for run in before} == before
    assert said.read_text().count("done already") >= len(before)
    return found


def same_results(first: Path, second: Path) -> bool:
    """Whether two studies found the same, the clock left aside."""
    timed = ("seconds", "step_seconds")
    one, other = (
        [
            {key: value for key, value in run.items() if key not in timed}
            for run in read_json(folder / "results.json")["runs"]
        ]
        for folder in (first, second)
    )
    return one == other


def test_all_are_there() -> None:
    assert set(STRENGTHS) == set(METHODS)


def test_a_few_runs_killed_three_times(recipe_file: Callable[..., str], start: Start, tmp_path: Path) -> None:
    grid = [{"method": "lora"}, {"method": "lalora", "curvature": "weight-kfac", "strength": [1, 10]}]
    recipe = recipe_file(grid=grid, **CHANGING)
    draw = random.Random(0)
    moments = [draw.uniform(0, 3) for _ in range(3)]
    whole = undisturbed(start, recipe, tmp_path / "whole", tmp_path / "said")
    assert killed(start, recipe, tmp_path / "killed", tmp_path / "killed-said", moments) == whole
    assert same_results(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.long
@pytest.mark.timeout(0)
def test_every_method_three_strengths_three_seeds_killed_ten_times_and_with_two_workers(
    recipe_file: Callable[..., str], start: Start, tmp_path: Path
) -> None:
    recipe = recipe_file(grid=every_method(), seeds=[0, 1, 2], **CHANGING)
    runs = load_recipe(recipe).runs
    assert len(runs) == 9 * (len(METHODS) + 4)
    began = time.monotonic()
    whole = undisturbed(start, recipe, tmp_path / "whole", tmp_path / "said")
    took = time.monotonic() - began
    assert len(whole) == 5 * len(runs)
    draw = random.Random(1)
    # So that on the average the last kill comes when the study is all but done.
    moments = [draw.uniform(0, took / 6) for _ in range(10)]
    assert killed(start, recipe, tmp_path / "killed", tmp_path / "killed-said", moments) == whole
    assert same_results(tmp_path / "killed", tmp_path / "whole")

    assert undisturbed(start, recipe, tmp_path / "both", tmp_path / "both-said", "--workers", "2") == whole
    assert same_results(tmp_path / "both", tmp_path / "whole")
