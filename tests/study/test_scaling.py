"""Adapters scaled after training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lalora import LaloraError
from lalora.softening import scaled
from lalora.study import load_recipe, run_study
from tiny import batches, lora, rows, shake


def test_zero_is_the_base_and_one_the_adapter_and_all_is_brought_back() -> None:
    model = lora(use_rslora=True).eval()
    shake(model)
    batch = {name: value for name, value in batches(rows(2), 2)[0].items() if name != "labels"}
    with torch.no_grad():
        tuned = model(**batch).logits
        with model.disable_adapter():
            base = model(**batch).logits
        with scaled(model, 0.0):
            assert torch.equal(model(**batch).logits, base)
        with scaled(model, 1.0):
            assert torch.equal(model(**batch).logits, tuned)
        with scaled(model, 0.3):
            assert not torch.equal(model(**batch).logits, tuned)
        assert torch.equal(model(**batch).logits, tuned)


def test_a_study_measures_every_run_at_every_factor_once(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(scales=[0.0, 0.5, 1.0], grid=[{"method": "lora"}]))
    results = run_study(recipe, tmp_path / "study", "lalora run tiny", print)
    run = results["runs"][0]
    at = {row["alpha"]: row for row in run["scaled"]}
    assert list(at) == [0.0, 0.5, 1.0]
    assert at[0.0]["kl"] == results["base"]["kl"]
    assert at[0.0]["loss"] == results["base"]["loss"]
    assert at[1.0]["kl"] == run["final"]["kl"]
    assert 0 < at[0.5]["source_kl"] < at[1.0]["source_kl"]
    assert [row["step"] for row in run["curve"]] == [0, 2, 4]
    again = run_study(recipe, tmp_path / "study", "lalora run tiny", print)
    assert again["runs"] == results["runs"]


def test_a_factor_below_zero_is_refused(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(LaloraError, match=r"'scales\.0' is -1"):
        load_recipe(recipe_file(scales=[-1]))
