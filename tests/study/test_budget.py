"""Runs with a budget of drift: what a recipe may say of it, what results tell, and that a kill changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.report import Findings, draw
from lalora.results import load_results
from lalora.study import load_recipe, run_study
from lalora.study.setup.context import run_identity
from lalora.study.store import records

Recipe = Callable[..., str]


class Killed(BaseException):
    pass


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", lambda said: None)


@pytest.mark.filterwarnings("ignore:the budget of")
def test_a_kill_changes_nothing_and_results_tell_both_adapters(
    recipe_file: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"budget": 1e-5, "budget_every": 2, "budget_rows": 2}
    grid: list[dict[str, Any]] = [
        {"method": "lora", "budget": 1e-5, "budget_rows": 2},
        {"method": "kl", "budget_by": ["control", "both"], **kept},
    ]
    recipe = recipe_file(grid=grid)
    whole = study(recipe, tmp_path / "whole")
    append, writes = records.append_row, 0

    def killing(path: Path, row: dict[str, Any]) -> None:
        nonlocal writes
        writes += 1
        if writes % 5 == 0:
            raise Killed
        append(path, row)

    with monkeypatch.context() as patched:
        for module in ("train_run", "trainer"):
            patched.setattr(f"lalora.study.run.{module}.append_row", killing)
        found, kills = None, 0
        while found is None:
            try:
                found = study(recipe, tmp_path / "killed")
            except Killed:
                kills += 1
                assert kills < 40
    assert kills > len(grid)
    for one, other in zip(whole["runs"], found["runs"], strict=True):
        for key in ("curve", "train", "trained", "budgeted", "controlled"):
            assert one[key] == other[key], (one["name"], key)
        for adapter in (tmp_path / "whole" / one["name"]).rglob("adapter_model.safetensors"):
            again = tmp_path / "killed" / adapter.relative_to(tmp_path / "whole")
            assert adapter.read_bytes() == again.read_bytes()

    softened, controlled, both = whole["runs"]
    assert softened["label"] == "LoRA budget=1e-05 budget_rows=2"
    assert softened["budgeted"]["drift"] <= 1e-5 < softened["budgeted"]["trained_drift"]
    assert softened["final"]["source_kl"] < softened["trained"]["source_kl"]
    assert (tmp_path / "whole" / softened["name"] / "trained" / "adapter_config.json").exists()
    assert controlled["trained"] is None
    assert [row["step"] for row in controlled["controlled"]] == [2, 4]
    assert both["controlled"] == controlled["controlled"][:1]
    assert both["trained"]["target_loss"] == controlled["final"]["target_loss"]
    draw(Findings(load_results(tmp_path / "whole")), tmp_path / "whole")
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "Budgets" in page


WRONG = {
    "a negative one": ({"budget": -1.0}, "'budget' is -1.0: input should be greater than 0"),
    "rows without one": ({"budget_rows": 3}, "a run without a budget has no 'budget_rows'"),
    "softening twice": (
        {"budget": 1.0},
        "'soften' changes adapters as they were trained, and 'LoRA budget=1' is softened to its budget",
    ),
    "another way": ({"budget": 1.0, "budget_by": "luck"}, "'budget_by' is 'luck'"),
}


@pytest.mark.parametrize(("entry", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_with_its_place(recipe_file: Recipe, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        load_recipe(recipe_file(grid=[{"method": "lora", **entry}], soften=[1.0]))


def test_what_a_budget_is_softened_by_belongs_to_the_run(recipe_file: Recipe) -> None:
    """Rows that softening is fitted on, and rows that a budget must not be measured on."""

    def identity(**base: Any) -> Any:
        recipe = load_recipe(recipe_file(grid=[{"method": "l2", "budget": 1.0, **base.pop("run", {})}], **base))
        return run_identity({}, recipe.study, recipe.runs[0])

    assert identity(soften_rows=8) != identity(soften_rows=16)
    control = {"budget_by": "control"}
    assert identity(run={**control, "source_rows": 8}) != identity(run={**control, "source_rows": 16})
    assert identity(run=control, soften_rows=8) == identity(run=control, soften_rows=16)


def test_a_study_without_budgets_is_the_study_that_it_was(recipe_file: Recipe) -> None:
    (run,) = load_recipe(recipe_file(grid=[{"method": "kl"}])).runs
    assert not any("budget" in key for key in run.effective)
