"""Several studies compared as one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from lalora import LaloraError
from lalora.report import Findings, draw
from lalora.results import Results, merged, parse


def together(**studies: dict[str, Any]) -> Results:
    return merged({name: parse(study) for name, study in studies.items()})


def test_runs_of_both_stand_side_by_side(results: dict[str, Any], tmp_path: Any) -> None:
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
    draw(Findings(found), tmp_path)
    assert "KL λ=1" in (tmp_path / "results.md").read_text()


def test_each_run_is_compared_with_the_plain_lora_of_its_own_study(results: dict[str, Any]) -> None:
    other = deepcopy(results)
    other["runs"][0]["final"]["source_kl"] *= 10
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


def test_what_was_published_and_selected_stays_with_its_own_study(results: dict[str, Any]) -> None:
    results["published"] = [{"run": "LoRA", "source_accuracy": 0.5, "target_accuracy": 0.5}]
    results["published_costs"] = [{"run": "LoRA", "part": "forward", "seconds": 1.0}]
    found = together(a=results, b=deepcopy(results))
    assert (found.published, found.published_costs, found.selection) == ([], [], None)
    assert found.methods["lalora"].label == "LaLoRA"


def test_a_folder_whose_name_no_picture_can_write_is_refused(results: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match="field 'name'"):
        together(**{"a$": results, "b": deepcopy(results)})
