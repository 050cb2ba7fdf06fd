"""Arguments that mean nothing: one line each, from Python as from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lalora
from lalora import LaloraError
from lalora.laplace import refit
from tiny import batches, llama, lora, rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor_rank": 1.5}, "factor_rank must be a valid integer, not 1.5"),
        ({"factor_rank": "2"}, "factor_rank must be a valid integer, not '2'"),
        ({"factor_rank": True}, "factor_rank must be a valid integer, not True"),
        ({"factor_rank": 0}, "factor_rank must be greater than or equal to 1, not 0"),
        ({"factor_keep": "0.5"}, "factor_keep must be a valid number, not '0.5'"),
        ({"factor_keep": float("nan")}, "factor_keep must be a finite number, not nan"),
        ({"prior": None}, "prior must be a finite number ≥ 0, not None"),
        ({"prior": True}, "prior must be a finite number ≥ 0, not True"),
        ({"prior": [1.0]}, "prior must be a finite number"),
        ({"seed": -1}, "seed must be greater than or equal to 0, not -1"),
        ({"seed": 1.5}, "seed must be a valid integer, not 1.5"),
        ({"seed": 2**70}, "seed=.*: it can be .* at most"),
    ],
)
def test_a_fit_refuses_in_a_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        lalora.fit(lora(), batches(rows(2), 2), curvature="kfac", progress=False, **options)


def test_a_laplace_refuses_in_a_line(tmp_path: Path) -> None:
    model = lora()
    source = batches(rows(2), 2)
    laplace = lalora.fit(model, source, progress=False, curvature="diagonal")
    wrong: Any
    for wrong in ("1", True, [1], float("nan")):
        with pytest.raises(LaloraError, match="strength must be a finite number"):
            laplace.penalty(model, wrong)
    for wrong in ("x", None, True):
        with pytest.raises(LaloraError, match="refit_decay must be at least 0"):
            refit(laplace, model, source, decay=wrong, progress=False)
    for wrong in ("bf16", torch.int8):
        with pytest.raises(LaloraError, match="dtype must be a floating-point type"):
            laplace.save(tmp_path, wrong)
    laplace.save(tmp_path)
    for wrong in (True, [1], -1.0):
        with pytest.raises(LaloraError, match="prior must be a finite number"):
            lalora.Laplace.load(tmp_path, wrong)


@pytest.mark.parametrize("curvature", ["diagonal", "tri-kfac", "weight-kfac"])
def test_it_says_in_two_lines_what_it_is(curvature: str) -> None:
    first, second = repr(
        lalora.fit(lora(), {"notes": batches(rows(4), 2)}, curvature=curvature, progress=False)
    ).splitlines()
    assert first.startswith(f"Laplace of a LoRA adapter (r=3): unnamed, {curvature} of 14 layers, prior 0")
    assert "of the 14 layers' weights in bfloat16; " in second
    assert second.endswith("fitted on notes (4 rows): 19 tokens")
    base = lalora.fit(
        llama(), {"a": batches(rows(4), 2)}, curvature="weight-kfac", target_modules="all-linear", progress=False
    )
    assert "the base model, for LoRA of any rank" in repr(base)
