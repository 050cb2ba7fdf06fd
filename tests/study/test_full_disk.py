"""A disk that fills up while training ends in one line, and the run goes on once there is room."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from hostile.sandbox import Sandbox
from lalora.errors import LaloraError
from lalora.study import load_recipe, run_study

# At rank 64 an adapter has 113 kB, its optimizer twice that: the first of them, or only the second, does not fit.
LIMITS = {"adapter": 60_000, "optimizer": 170_000}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_files_that_cannot_be_written_to_their_end(
    limit: int, recipe_file: Callable[..., str], sandbox: Sandbox, tmp_path: Path
) -> None:
    recipe = recipe_file(rank=64, grid=[{"method": "lora"}], evaluate_at=[])

    def run(most: int) -> tuple[int, str]:
        process = sandbox.start("hostile.undrawn", "run", recipe, "--out", tmp_path / "study", file_limit=most)
        _, err = process.communicate()
        return process.wait(), err

    status, err = run(limit)
    assert status == 2, err
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'study' / 'lora-seed-0' / 'checkpoints'}: cannot be saved (")
    assert "); make room and run again; 0 of 1 runs are finished" in last
    assert run(resource.RLIM_INFINITY)[0] == 0


@pytest.mark.parametrize("error", [SafetensorError("I/O error"), RuntimeError("enforce fail"), OSError(28, "full")])
def test_an_adapter_that_cannot_be_kept(
    error: Exception, recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr("lalora.study.run.train_run._keep_adapter", full)
    with pytest.raises(LaloraError, match=r"lora-seed-0: cannot be saved \(.*\); make room and run again"):
        run_study(load_recipe(recipe_file(grid=[{"method": "lora"}], evaluate_at=[])), tmp_path / "s", "", print)
