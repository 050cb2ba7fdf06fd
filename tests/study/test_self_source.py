"""Studies whose methods see text that the base model wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.study import load_recipe, run_study

Recipe = Callable[..., str]


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", lambda said: None)


def test_methods_share_the_text_which_is_kept_and_not_written_twice(recipe_file: Recipe, tmp_path: Path) -> None:
    own = {"source_text": "self", "source_length": 9, "source_temperature": 0.5}
    grid = [
        {"method": "lora"},
        {"method": "lalora", "strength": 10.0},
        {"method": "lalora", "strength": 10.0, **own},
        {"method": "replay", "share": 0.5, **own},
        {"method": "kl", "strength": 1.0, **own},
        {"method": "corda", **own},
    ]
    whole = study(recipe_file(grid=grid), tmp_path / "study")
    (file,) = (tmp_path / "study" / "shared").glob("self-source-*.jsonl")
    made, *texts = [json.loads(line) for line in file.read_text().splitlines()]
    assert {key: made[key] for key in ("rows", "length", "temperature", "seed")} == {
        "rows": 3,
        "length": 9,
        "temperature": 0.5,
        "seed": 0,
    }
    assert len(texts) == 3
    assert all(len(text["input_ids"]) <= 9 for text in texts)
    assert len(list((tmp_path / "study" / "shared").glob("laplace-*/"))) == 2
    losses = [run["final"]["target_loss"] for run in whole["runs"]]
    assert len(set(losses)) == len(losses)

    written = file.stat().st_mtime_ns
    (
        tmp_path
        / "study"
        / "kl-strength-1-source_text-self-source_length-9-source_temperature-0.5-seed-0"
        / "done.json"
    ).unlink()
    assert [run["final"] for run in study(recipe_file(grid=grid), tmp_path / "study")["runs"]] == [
        run["final"] for run in whole["runs"]
    ]
    assert file.stat().st_mtime_ns == written


def test_a_method_that_looks_at_no_text_has_no_such_setting(recipe_file: Recipe) -> None:
    with pytest.raises(LaloraError, match="method 'lora' has no 'source_text'"):
        load_recipe(recipe_file(grid=[{"method": "lora", "source_text": "self"}]))
