"""A study that did not end: what is done of it can be reported, merged, and put together later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.methods.l2 import L2
from lalora.results import load_results, merged, parse
from lalora.results.collect import collect
from lalora.results.state import RESULTS, STATE, keep_result, keep_state
from lalora.study import load_recipe, run_study
from lalora.study.run import result as study_results

GRID = [{"method": "lora"}, {"method": "l2", "strength": [1.0]}]


def unfinished(folder: Path, results: dict[str, Any], done: int) -> dict[str, Any]:
    """Writes what a study leaves that was killed after so many runs; returns those."""
    runs = results["runs"][:done]
    for run in runs:
        keep_result(folder, run["name"], run)
    keep_state(folder, {key: value for key, value in results.items() if key != "runs"}, [run["name"] for run in runs])
    return {**results, "runs": runs}


def test_what_is_done_can_be_loaded_and_merged(tmp_path: Path, results: dict[str, Any]) -> None:
    expected = parse(unfinished(tmp_path, results, 2))
    assert load_results(tmp_path) == expected
    results["runs"][0]["final"]["source_kl"] += 0.01
    assert len(merged({"a": load_results(tmp_path), "b": parse(results)}).runs) == 4


def test_a_study_that_goes_on_is_newer_than_the_results_it_left(tmp_path: Path, results: dict[str, Any]) -> None:
    (tmp_path / RESULTS).write_text(json.dumps({**results, "runs": []}))
    unfinished(tmp_path, results, 1)
    assert len(load_results(tmp_path).runs) == 1


def test_collecting_writes_the_results_and_drops_the_state(tmp_path: Path, results: dict[str, Any]) -> None:
    expected = unfinished(tmp_path, results, 3)
    assert collect(tmp_path) == json.loads((tmp_path / RESULTS).read_text()) == expected
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS]


def test_what_is_selected_so_far_is_in_an_unfinished_study_too(tmp_path: Path, results: dict[str, Any]) -> None:
    results["recipe"]["select"] = {"alpha": 0.5}
    for run in results["runs"]:
        run["validation"] = run["final"]
    unfinished(tmp_path, results, 3)
    selection = load_results(tmp_path).selection
    assert selection is not None
    assert (selection.alpha, selection.baseline) == (0.5, "LoRA")
    assert collect(tmp_path)["selection"] == selection.model_dump()
    assert load_results(tmp_path).selection == selection


@pytest.mark.parametrize(
    "runs", [["x/../../outside"], ["/../outside"], ["/outside"], [".."], [3], [None], ["nowhere"], [""]], ids=str
)
def test_names_in_a_state_lead_nowhere_else(tmp_path: Path, results: dict[str, Any], runs: list[Any]) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    keep_state(folder, {key: value for key, value in results.items() if key != "runs"}, runs)
    for place in (folder / "outside.json", folder / "state/x/outside.json", folder / "state/run /outside.json"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(results["runs"][0]))
    assert load_results(folder).runs == []


@pytest.mark.parametrize("state", ["[]", "{", '{"format": 1}', '{"format": 1, "runs": 3}', "\x00"])
def test_a_state_that_nobody_wrote_is_refused(tmp_path: Path, state: str) -> None:
    (tmp_path / STATE).parent.mkdir()
    (tmp_path / STATE).write_text(state)
    with pytest.raises(LaloraError, match=r"study\.json"):
        load_results(tmp_path)


@pytest.mark.parametrize("select", [{"alpha": 9}, {"by": "eye"}, 3, "x", {"learning": "__class__"}], ids=str)
def test_criteria_that_no_recipe_has_are_refused(tmp_path: Path, results: dict[str, Any], select: Any) -> None:
    results["recipe"]["select"] = select
    unfinished(tmp_path, results, 1)
    with pytest.raises(LaloraError, match=r"recipe\.select"):
        load_results(tmp_path)


def test_a_study_that_is_stopped_can_be_reported_and_ends_as_one_that_was_not(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    recipe, folder = load_recipe(recipe_file(grid=GRID, evaluate_at=[])), tmp_path / "study"
    with monkeypatch.context() as patch:
        patch.setattr(L2, "after_backward", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_study(recipe, folder, "", lambda _: None)
    assert not (folder / RESULTS).exists()
    (left,) = load_results(folder).runs
    ended = run_study(recipe, folder, "", lambda _: None)
    whole = run_study(recipe, tmp_path / "whole", "", lambda _: None)
    assert parse(ended).runs[0] == left
    for one, other in zip(ended["runs"], whole["runs"], strict=True):
        assert {**one, "seconds": 0, "step_seconds": 0} == {**other, "seconds": 0, "step_seconds": 0}


def test_a_study_is_collected_once_and_no_run_read_more_than_twice(
    recipe_file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr("lalora.study.runners.run_study.run_result", counted("result", study_results.run_result))
    monkeypatch.setattr("lalora.study.runners.run_study.collect", counted("collect", collect))
    grid = [{"method": "lora"}, {"method": "lalora", "strength": [1, 2, 3]}]
    recipe = load_recipe(recipe_file(grid=grid, evaluate_at=[], curvature="diagonal"))
    found = run_study(recipe, tmp_path / "study", "", lambda _: None)
    # Plain LoRA again at the end: the groups of its weights are those of the Laplace that LaLoRA fits.
    assert calls == ["result"] * 4 + ["result", "collect"]
    assert all(len(run["precision_groups"]) == 3 for run in found["runs"])
