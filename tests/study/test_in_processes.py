"""Several runs at once end as one after the other, also when a worker is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hostile.sandbox import Sandbox
from lalora import LaloraError
from lalora.study import load_recipe, run_study
from lalora.study.runners.in_processes import InProcesses
from lalora.study.runners.run_study import one_by_one
from lalora.study.store.records import read_json
from tiny_study import GRID, outcome


def die(*_: object) -> None:
    os._exit(9)


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported everything; those of a command are started anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([InProcesses.__module__])
    monkeypatch.setattr("lalora.study.runners.in_processes.multiprocessing.get_context", lambda _: context)


@pytest.fixture
def recipe(recipe_file: Callable[..., str]) -> Any:
    return load_recipe(recipe_file(grid=GRID, dropout=0.1, steps=6))


def test_two_workers_find_what_one_process_finds(recipe: Any, one_thread: None, tmp_path: Path) -> None:
    said: list[str] = []
    alone = run_study(recipe, tmp_path / "alone", "lalora run tiny", said.append, one_by_one)
    both = run_study(recipe, tmp_path / "both", "lalora run tiny", said.append, InProcesses(2, said.append))
    assert outcome(tmp_path / "both") == outcome(tmp_path / "alone")
    assert [run["final"] for run in both["runs"]] == [run["final"] for run in alone["runs"]]
    assert [run["name"] for run in both["runs"]] == [run["name"] for run in alone["runs"]]
    assert {run["threads"] for run in both["runs"]} == {1}
    assert len(list((tmp_path / "both" / "shared").glob("laplace-*/"))) == 1
    assert sum("measuring the base model" in line for line in said) == 2
    assert sum(line.endswith("to go") for line in said) == len(recipe.runs)
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_killed_loses_nothing(recipe: Any, one_thread: None, tmp_path: Path) -> None:
    folder, said = tmp_path / "killed", []

    def kill_one() -> None:
        while not any(path.stat().st_size for path in folder.glob("*/timing.jsonl")):
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    run_study(recipe, folder, "lalora run tiny", said.append, InProcesses(2, said.append))
    killer.join(5)
    assert any("a worker died" in line for line in said)
    run_study(recipe, tmp_path / "alone", "lalora run tiny", said.append)
    assert outcome(folder) == outcome(tmp_path / "alone")


def test_workers_end_when_the_process_that_was_started_is_killed(
    recipe_file: Callable[..., str], sandbox: Sandbox, tmp_path: Path
) -> None:
    recipe = recipe_file(grid=GRID, steps=400)
    folder, said = tmp_path / "study", tmp_path / "said"
    started = sandbox.start("lalora", "run", recipe, "--out", folder, "--workers", "2", said=said)
    while not list(folder.glob("*/timing.jsonl")):
        assert started.poll() is None, said.read_text()
        time.sleep(0.05)
    started.kill()
    started.wait()
    for _ in range(200):
        if not _alive(started.pid):
            break
        time.sleep(0.05)
    assert not _alive(started.pid)
    assert "step/s" not in said.read_text()


def _alive(session: int) -> bool:
    # Where nobody buries them, orphans that ended stay as zombies.
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            found.append(os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE)
    return any(found)


def test_workers_that_die_again_and_again_are_given_up(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lalora.study.runners.in_processes.do", die)
    with pytest.raises(LaloraError, match="workers died 3 times .* use fewer --workers"):
        run_study(recipe, tmp_path / "dying", "lalora run tiny", lambda said: None, InProcesses(1, lambda said: None))


def test_a_run_that_diverges_is_told_and_the_others_are_finished(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    grid = [{"method": "lora", "learning_rate": [0.01, 1e30]}]
    recipe = load_recipe(recipe_file(grid=grid, max_grad_norm=1e30))
    with pytest.raises(LaloraError, match="1 of 2 runs are finished and kept"):
        run_study(recipe, tmp_path / "study", "lalora run tiny", lambda said: None, InProcesses(2, lambda said: None))
    results = read_json(tmp_path / "study" / "results.json")
    assert [run["settings"]["learning_rate"] for run in results["runs"]] == [0.01]
