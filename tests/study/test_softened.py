"""Adapters softened after training, in a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lalora import LaloraError
from lalora.study import load_recipe, run_study


def test_a_study_measures_every_run_softened_once(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = [{"method": "lora", "learning_rate": 3e-2}, {"method": "milora", "learning_rate": 3e-2}]
    recipe = load_recipe(recipe_file(soften=[0.0, 1.0, 1e9], soften_rows=3, grid=grid))
    results = run_study(recipe, tmp_path / "study", "lalora run tiny", print)
    for run in results["runs"]:
        at = {row["strength"]: row for row in run["softened"]}
        assert list(at) == [0.0, 1.0, 1e9]
        assert at[0.0]["alpha"] <= 1
        assert at[0.0]["source_kl"] > at[1.0]["source_kl"] > at[1e9]["source_kl"]
        assert abs(at[1e9]["source_kl"]) < 1e-4
        if at[0.0]["alpha"] == 1:
            assert at[0.0]["kl"] == pytest.approx(run["final"]["kl"], rel=1e-2)
    # One curvature of the base serves every method of a seed.
    assert len(list((tmp_path / "study" / "shared").glob("softening-*/laplace.json"))) == 1
    again = run_study(recipe, tmp_path / "study", "lalora run tiny", print)
    assert again["runs"] == results["runs"]


def test_what_was_measured_before_a_kill_is_kept_and_the_rest_is_the_same(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(recipe_file(soften=[0.1, 1.0], soften_rows=3, grid=[{"method": "lora"}]))
    whole = run_study(recipe, tmp_path / "whole", "lalora run tiny", print)
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        if "softened at λ=1" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(recipe, tmp_path / "killed", "lalora run tiny", say)
    said.clear()
    resumed = run_study(recipe, tmp_path / "killed", "lalora run tiny", said.append)
    assert not any("λ=0.1" in message for message in said)
    assert [run["softened"] for run in resumed["runs"]] == [run["softened"] for run in whole["runs"]]


@pytest.mark.parametrize("strength", [-1, float("inf"), "much"])
def test_bad_strengths_are_refused(recipe_file: Callable[..., str], strength: object) -> None:
    with pytest.raises(LaloraError, match=r"'soften\.0' is"):
        load_recipe(recipe_file(soften=[strength]))
