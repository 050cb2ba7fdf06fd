"""What a study records of the forecasts of several curvatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

import lalora
from lalora.adapter import trainable_tensors
from lalora.assets import load_model, load_tokenizer
from lalora.errors import LaloraError
from lalora.study import load_recipe, run_study
from lalora.study.setup.data import prepare
from lalora.study.setup.start import with_adapter
from lalora.study.store import records
from lalora.study.store.records import read_rows

KINDS = ["diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal"]
QUIET: list[str] = []


class Killed(BaseException):
    """Not even `except Exception` sees it, as with a real kill."""


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", QUIET.append)


def test_every_measured_point_has_the_forecasts(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    path = recipe_file(grid=[{"method": "lora", "learning_rate": [0.01, 0.02]}], forecasts=KINDS)
    results = study(path, tmp_path / "study")
    # Both runs start alike, and the three Kronecker curvatures are made of the same factors.
    assert len(list((tmp_path / "study" / "shared").glob("laplace-*"))) == 3
    assert "forecasts" not in results["base"]
    for run in results["runs"]:
        assert [row["step"] for row in run["curve"]] == [0, 2, 4]
        assert run["curve"][0] == results["base"] | {"forecasts": dict.fromkeys(KINDS, 0.0)}
        assert all(value > 0 for row in run["curve"][1:] for value in row["forecasts"].values())
        # At B = 0 the cross terms vanish; later the adapter is elsewhere, but the fit is still that of the start.
        last = run["final"]["forecasts"]
        assert last["tri-kfac"] == pytest.approx(last["kfac"], rel=1e-5)
        assert last["weight-kfac"] != pytest.approx(last["kfac"], rel=1e-3)


def test_the_forecast_of_the_end_is_that_of_the_kept_adapter(recipe_file: Callable[..., str], tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(grid=[{"method": "lora"}], forecasts=KINDS, seeds=[3]))
    (run,) = run_study(recipe, tmp_path / "study", "lalora run tiny", QUIET.append)["runs"]
    common, settings = recipe.study, recipe.runs[0].settings
    base = load_model(common.model, torch.float32)
    seen = prepare(common, load_tokenizer(common.model), base.config).chosen_batches(settings)
    start = with_adapter(base, settings)
    fitted = {kind: lalora.fit(start, seen, curvature=kind, seed=3, progress=False) for kind in KINDS}
    kept = PeftModel.from_pretrained(
        load_model(common.model, torch.float32), str(tmp_path / "study" / run["folder"]), is_trainable=True
    )
    assert trainable_tensors(kept).keys() == trainable_tensors(start).keys()
    expected = {kind: laplace.forecast(kept) for kind, laplace in fitted.items()}
    assert run["final"]["forecasts"] == pytest.approx(expected, rel=1e-5)


def test_killed_and_run_again_has_the_same_rows(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_file(dropout=0.1, grid=[{"method": "lora"}], forecasts=["diagonal", "weight-kfac"])
    whole = study(recipe, tmp_path / "whole")
    append = records.append_row

    def killing(path: Path, row: dict[str, Any]) -> None:
        if row["step"] == 4:
            raise Killed
        append(path, row)

    with monkeypatch.context() as patched:
        for module in ("train_run", "trainer"):
            patched.setattr(f"lalora.study.run.{module}.append_row", killing)
        with pytest.raises(Killed):
            study(recipe, tmp_path / "killed")
    assert (tmp_path / "killed" / "lora-seed-0" / "checkpoints").is_dir()
    assert study(recipe, tmp_path / "killed")["runs"][0]["curve"] == whole["runs"][0]["curve"]


def test_a_study_that_asks_for_none_is_as_if_there_were_no_such_key(
    recipe_file: Callable[..., str], tmp_path: Path
) -> None:
    study(recipe_file(grid=[{"method": "lora"}]), tmp_path / "study")
    folder = tmp_path / "study" / "lora-seed-0"
    assert not any("forecasts" in row for row in read_rows(folder / "metrics.jsonl"))
    assert "forecasts" not in json.loads((folder / "config.json").read_text())["identity"]["study"]
    assert not list((tmp_path / "study" / "shared").glob("laplace-*"))


def test_an_unknown_curvature_is_named_by_its_line(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(
        LaloraError, match=r"line \d+: 'forecasts\.1' is 'kfak', which is unknown: choose diagonal or kfac"
    ) as caught:
        load_recipe(recipe_file(forecasts=["diagonal", "kfak"]))
    assert "\n" not in str(caught.value)
