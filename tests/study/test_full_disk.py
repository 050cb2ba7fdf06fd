"""A disk that fills up while training ends in one line, and the run goes on once there is room."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from lalora.errors import LaloraError
from lalora.study import load_recipe, run_study

# At rank 64 an adapter has 113 kB, its optimizer twice that: the first of them, or only the second, does not fit.
LIMITS = {"adapter": 60_000, "optimizer": 170_000}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_files_that_cannot_be_written_to_their_end(limit: int, recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe = recipe_file(rank=64, grid=[{"method": "lora"}], evaluate_at=[])

    def run(most: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lalora", "run", recipe, "--out", str(tmp_path / "study")],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, capture_output=True, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)),
        )  # fmt: skip

    ended = run(limit)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'study' / 'lora-seed-0' / 'checkpoints'}: cannot be saved (")
    assert "); make room and run again; 0 of 1 runs are finished" in last
    assert run(resource.RLIM_INFINITY).returncode == 0


@pytest.mark.parametrize("error", [SafetensorError("I/O error"), RuntimeError("enforce fail"), OSError(28, "full")])
def test_an_adapter_that_cannot_be_kept(
    error: Exception, recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr("lalora.study.run.train_run._keep_adapter", full)
    with pytest.raises(LaloraError, match=r"lora-seed-0: cannot be saved \(.*\); make room and run again"):
        run_study(load_recipe(recipe_file(grid=[{"method": "lora"}], evaluate_at=[])), tmp_path / "s", "", print)
