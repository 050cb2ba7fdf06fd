"""What a study would take, before it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.study import Recipe, load_recipe
from lalora.study.dry_run.estimate import seconds, sizes, state
from lalora.study.recipe.settings import RunSettings, StudySettings
from tiny import llama

RecipeFile = Callable[..., str]


def common(model: str, dtype: str = "bfloat16") -> StudySettings:
    return StudySettings(model=model, dtype=dtype, sources={}, target={"gsm8k": "hub"})


@pytest.mark.parametrize(
    ("model", "billions"),
    [("meta-llama/Llama-3.2-1B", 1.24), ("meta-llama/Llama-3.2-3B", 3.21), ("meta-llama/Llama-3.1-8B", 8.03)],
)
def test_the_papers_models_have_their_size_without_the_hub(model: str, billions: float) -> None:
    settings = RunSettings(steps=1, rank=16, target_modules=["q_proj", "k_proj"])
    found = sizes(common(model), settings)
    assert found.frozen / 1e9 == pytest.approx(billions, abs=0.006)
    assert found.weights == 2 * found.frozen
    assert found.memory == 2 * found.frozen + 16 * found.trained


def test_the_adapter_has_as_many_weights_as_the_paper_counts() -> None:
    settings = RunSettings(steps=1, rank=16, target_modules=["q_proj", "k_proj"])
    # Table 11: flexible, middle and important together.
    assert sizes(common("meta-llama/Llama-3.2-3B"), settings).trained == 2_752_512 + 1_376_256 + 458_752


def test_a_local_models_weights_are_counted(tiny_model: Path) -> None:
    found = sizes(common(str(tiny_model), "float32"), RunSettings(steps=1, rank=2))
    base = llama(3, vocab_size=38, max_position_embeddings=128)
    assert found.frozen == sum(parameter.numel() for parameter in base.parameters())
    assert found.weights == 4 * found.frozen


def test_modules_that_are_not_there_are_named(tiny_model: Path) -> None:
    with pytest.raises(LaloraError, match=r"target_modules='nowhere'"):
        sizes(common(str(tiny_model)), RunSettings(steps=1, target_modules="nowhere"))


def test_runs_are_told_by_their_folder(
    finished_study: tuple[Path, dict[str, Any], Recipe], recipe_file: RecipeFile, tmp_path: Path
) -> None:
    folder, _, recipe = finished_study
    assert [state(plan, folder / plan.name) for plan in recipe.runs] == ["done"] * 3
    other = load_recipe(recipe_file(rank=3))
    assert [state(plan, folder / plan.name) for plan in other.runs] == ["other settings"] * 3
    assert state(recipe.runs[0], tmp_path / "nothing") == "to do"


def test_time_is_reckoned_from_steps_that_were_timed(
    finished_study: tuple[Path, dict[str, Any], Recipe], tmp_path: Path
) -> None:
    folder, results, recipe = finished_study
    took, told = seconds(recipe.study, recipe.runs, folder)
    middles = [run["step_seconds"] for run in results["runs"]]
    assert 12 * min(middles) <= took <= 12 * max(middles)
    assert told.startswith("12 steps timed in ")
    took, told = seconds(recipe.study, recipe.runs, tmp_path)
    assert took > 0
    assert told.startswith("rows of 512 tokens at the ")
