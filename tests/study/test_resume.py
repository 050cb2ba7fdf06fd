"""Killed at any step, then run again = never killed, to the last bit."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile.sandbox import Sandbox
from hostile.started import Started
from lalora.files import UNFINISHED
from lalora.study import load_recipe, run_study
from lalora.study.store import records
from tiny_study import outcome

QUIET: list[str] = []


class Killed(BaseException):
    """Not even `except Exception` sees it, as with a real kill."""


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", QUIET.append)


@pytest.fixture
def dropping(recipe_file: Callable[..., str]) -> str:
    """Runs whose random state, and whose changing curvature, matter at every step."""
    refitting = {"method": "lalora", "curvature": "weight-kfac", "strength": 3, "refit_every": 2}
    return recipe_file(dropout=0.1, grid=[{"method": "lora"}, {"method": "lalora", "strength": 3}, refitting])


@pytest.fixture
def undisturbed(dropping: str, tmp_path: Path) -> dict[str, bytes]:
    study(dropping, tmp_path / "undisturbed")
    return outcome(tmp_path / "undisturbed")


@pytest.mark.parametrize("life", [4, 5])
def test_killed_before_many_rows_and_run_again_ends_the_same(
    life: int, dropping: str, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"
    append = records.append_row
    writes = 0

    def killing(path: Path, row: dict[str, Any]) -> None:
        nonlocal writes
        writes += 1
        # A process dies while it writes a row, and half of that row gets to the disk.
        if writes % life == 0:
            with path.open("a") as file:
                file.write(json.dumps(row)[:9])
            raise Killed
        append(path, row)

    for module in ("train_run", "trainer"):
        monkeypatch.setattr(f"lalora.study.run.{module}.append_row", killing)
    kills = 0
    while True:
        try:
            study(dropping, folder)
            break
        except Killed:
            kills += 1
            assert kills < 20
    assert kills > 3
    assert outcome(folder) == undisturbed


def test_killed_while_a_checkpoint_is_written_goes_on_from_the_one_before(
    dropping: str, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"

    def killing(self: Any, output_dir: str) -> None:
        if output_dir.endswith("checkpoint-3"):
            raise Killed
        original(self, output_dir)

    from transformers import Trainer

    original = Trainer._save_rng_state
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_save_rng_state", killing)
        with pytest.raises(Killed):
            study(dropping, folder)
    assert (folder / "lora-seed-0" / "checkpoints" / "checkpoint-3").is_dir()
    study(dropping, folder)
    assert outcome(folder) == undisturbed


def test_a_finished_run_is_never_done_twice(dropping: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study(dropping, tmp_path / "study")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("was done twice")

    for name in (
        "lalora.study.setup.context.fit",
        "lalora.study.setup.context.evaluate",
        "lalora.study.run.train_run.StudyTrainer",
    ):
        monkeypatch.setattr(name, never)
    second = study(dropping, tmp_path / "study")
    assert second["runs"] == first["runs"]
    assert second["base"] == first["base"]


def test_a_recipe_that_grows_does_only_what_is_new(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study(recipe_file(grid=[{"method": "lora"}]), folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "lora-seed-0").iterdir()}
    results = study(recipe_file(grid=[{"method": "lora"}, {"method": "lalora"}]), folder)
    assert [run["name"] for run in results["runs"]] == ["lora-seed-0", "lalora-seed-0"]
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "lora-seed-0").iterdir()}


def test_a_damaged_marker_makes_the_run_be_done_again(dropping: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study(dropping, folder)
    expected = outcome(folder)
    (folder / "lora-seed-0" / "done.json").write_text('{"key"')
    shutil.rmtree(folder / "shared")
    study(dropping, folder)
    assert outcome(folder) == expected


def test_what_a_kill_leaves_after_the_last_file_is_cleaned_up(dropping: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study(dropping, folder)
    files = sorted(folder.rglob("*"))
    (folder / "lora-seed-0" / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    for place in (folder, folder / "lora-seed-0", folder / "shared", *folder.glob("shared/laplace-*")):
        (place / f".half.json.0a1b2c3d{UNFINISHED}").write_text("{")
    study(dropping, folder)
    assert sorted(folder.rglob("*")) == files


def wait_for(path: Path, process: Started) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_real_kill_and_a_real_ctrl_c_lose_nothing(
    recipe_file: Callable[..., str], sandbox: Sandbox, tmp_path: Path
) -> None:
    def start(recipe: str, folder: Path) -> Started:
        return sandbox.start(
            "hostile.undrawn", "run", recipe, "--out", folder, environment={"LALORA_HOME": str(tmp_path)}
        )

    recipe = recipe_file(dropout=0.1, steps=150, evaluate_at=[], grid=[{"method": "lalora", "strength": 3}])
    run = tmp_path / "study" / "lalora-strength-3-seed-0"
    process = start(recipe, tmp_path / "study")
    wait_for(run / "checkpoints" / "checkpoint-15" / "trainer_state.json", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "done.json").exists()

    process = start(recipe, tmp_path / "study")
    wait_for(run / "checkpoints" / "checkpoint-45", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    last = said.strip().splitlines()[-1]
    assert last.startswith("interrupted: finished runs and checkpoints are kept in")
    assert last.endswith(f"to go on: lalora run {recipe} --out {tmp_path / 'study'}")

    process = start(recipe, tmp_path / "study")
    process.communicate(timeout=120)
    assert process.returncode == 0
    process = start(recipe, tmp_path / "undisturbed")
    process.communicate(timeout=120)
    assert outcome(tmp_path / "study") == outcome(tmp_path / "undisturbed")
