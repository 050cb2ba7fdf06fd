"""Several studies compared as one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from lalora import LaloraError
from lalora.report import Findings, draw, drawing
from lalora.report.panels.results import ResultsPanel
from lalora.results import Results, merged, parse


def together(**studies: dict[str, Any]) -> Results:
    return merged({name: parse(study) for name, study in studies.items()})


def test_runs_of_both_stand_side_by_side(
    results: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = deepcopy(results)
    other["runs"] = [{**other["runs"][0], "seed": seed} for seed in (0, 1)] + [{**other["runs"][1], "label": "KL λ=1"}]
    found = together(**{"runs/a": results, "runs/b": other})
    assert [run.label for run in found.runs] == [
        "LoRA (runs/a)",
        "LaLoRA λ=1",
        "LaLoRA λ=10",
        "LoRA (runs/b)",
        "LoRA (runs/b)",
        "KL λ=1",
    ]
    assert len({run.name for run in found.runs[:4]}) == 4
    assert found.name == "runs/a and runs/b"
    assert len(found.notes) == 1
    monkeypatch.setattr(drawing, "PANELS", [ResultsPanel])
    draw(Findings(found), tmp_path)
    assert "KL λ=1" in (tmp_path / "results.md").read_text()


def test_each_run_is_compared_with_the_plain_lora_of_its_own_study(results: dict[str, Any]) -> None:
    other = deepcopy(results)
    other["runs"][0]["final"]["source_kl"] *= 10
    for run in other["runs"][1:]:
        run["final"]["target_loss"] += 0.01
    for threads in ("target_loss", "source_loss"):
        other["base"][threads] *= 1 + 1e-6
    del other["base"]["source_accuracy"]
    removed = [row.forgetting_removed for row in Findings(together(a=results, b=other)).rows]
    assert removed[2] == pytest.approx(1 - 0.071 / 0.182, abs=0.05)
    assert removed[5] == pytest.approx(1 - 0.0071 / 0.182, abs=0.05)
    assert removed[1] is removed[4] is None


def test_other_rows_cannot_be_compared(results: dict[str, Any]) -> None:
    other = deepcopy(results)
    other["base"]["target_loss"] += 0.1
    with pytest.raises(LaloraError, match="runs/a and runs/b cannot be compared: their base models have target_loss"):
        together(**{"runs/a": results, "runs/b": other})


def test_what_was_published_comes_along(results: dict[str, Any]) -> None:
    results["published"] = [
        {"run": "LoRA", "source_accuracy": 0.5, "target_accuracy": 0.5},
        {"run": "LaLoRA λ=1", "source_accuracy": 0.6, "target_accuracy": 0.4},
    ]
    results["published_costs"] = [{"run": "LoRA", "part": part, "seconds": 1.0} for part in ("forward", "backward")]
    other = deepcopy(results)
    other["runs"][1]["final"]["target_loss"] += 0.5
    other["published"][0]["source_accuracy"] = 0.7
    found = together(a=results, b=other)
    assert [(one.run, one.source_accuracy) for one in found.published] == [
        ("LoRA", 0.5),
        ("LaLoRA λ=1 (a)", 0.6),
        # Another number for the same runs is another publication's.
        ("LoRA (b)", 0.7),
        ("LaLoRA λ=1 (b)", 0.6),
    ]
    assert [(one.run, one.part) for one in found.published_costs] == [("LoRA", "forward"), ("LoRA", "backward")]
    assert found.methods["lalora"].label == "LaLoRA"


def test_no_row_that_contradicts_the_others_is_dropped(results: dict[str, Any]) -> None:
    published = [{"run": "LoRA", "source_accuracy": 0.1 * k, "target_accuracy": 0.5} for k in (1, 2, 3, 2)]
    found = together(a={**results, "published": published}, b={**deepcopy(results), "published": published[:1]})
    assert [(one.run, round(one.source_accuracy, 3)) for one in found.published] == [
        ("LoRA", 0.1),
        ("LoRA (a)", 0.2),
        ("LoRA (a, 2)", 0.3),
    ]


def test_a_setting_that_both_ran_with_the_same_result_stands_once(results: dict[str, Any]) -> None:
    other = deepcopy(results)
    other["runs"][0]["final"]["source_kl"] *= 1 + 1e-5
    other["runs"][1]["settings"]["rank"] = 32
    other["runs"][2]["final"]["source_kl"] *= 1.01
    assert [run.label for run in together(a=results, b=other).runs] == [
        "LoRA", "LaLoRA λ=1 (a)", "LaLoRA λ=10 (a)", "LaLoRA λ=1 (b)", "LaLoRA λ=10 (b)",
    ]  # fmt: skip


def chosen(results: dict[str, Any], **criteria: Any) -> dict[str, Any]:
    for run in results["runs"]:
        run["validation"] = {**run["final"], "kind": "validation"}
    return {**results, "recipe": {**results["recipe"], "select": criteria}}


def test_settings_are_selected_among_the_runs_of_all(results: dict[str, Any]) -> None:
    first, second = deepcopy(results), deepcopy(results)
    first["runs"], second["runs"] = first["runs"][:2], [second["runs"][0], second["runs"][2]]
    found = together(a=chosen(first, alpha=0.7), b=chosen(second, alpha=0.7)).selection
    assert found is not None
    ours = next(method for method in found.methods if method.method == "lalora")
    assert [setting.label for setting in ours.settings] == ["LaLoRA λ=1", "LaLoRA λ=10"]
    assert ours.stability == "LaLoRA λ=10"


def test_other_criteria_select_nothing_and_say_so(results: dict[str, Any]) -> None:
    found = together(a=chosen(deepcopy(results), alpha=0.7), b=chosen(deepcopy(results), alpha=0.5))
    assert found.selection is None
    assert "select by different criteria" in found.notes[-1]


def test_a_folder_whose_name_no_picture_can_write_is_refused(results: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match="field 'name'"):
        together(**{"a$": results, "b": deepcopy(results)})
