"""A study that selects a setting of each method: on rows of their own, judged by the scored ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.domains import load_domain
from lalora.report import Findings
from lalora.report.panels.selection import SelectionPanel
from lalora.results import parse
from lalora.study import load_recipe, run_study

RecipeFile = Callable[..., str]


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", lambda said: None)


def test_a_study_selects(recipe_file: RecipeFile, tmp_path: Path) -> None:
    grid = [{"method": "lora"}, {"method": "lalora", "strength": [1, 1000]}]
    recipe = recipe_file(
        grid=grid, seeds=[0, 1], validation_rows=4, select={"alpha": 0.5}, accuracy_rows=2, target_accuracy_rows=2,
        max_new_tokens=3,
    )  # fmt: skip
    results = study(recipe, tmp_path / "study")
    for one in results["runs"]:
        assert one["validation"]["kind"] == "validation"
        assert one["validation"]["target_loss"] != one["final"]["target_loss"]
        assert "source_accuracy" in one["validation"]
        assert one["validation"]["source_kl"] > 0
        assert "heldout_kl" not in one["validation"]
    lalora = results["selection"]["methods"][1]
    assert lalora["stability"] == "LaLoRA λ=1000"
    assert {one["seeds"] for one in results["selection"]["comparisons"]} == {2}
    assert len(SelectionPanel(Findings(parse(results))).tables()) == 2
    assert study(recipe, tmp_path / "study")["selection"] == results["selection"]


def test_rows_held_back_are_seen_by_nobody_else(tiny_data: Path) -> None:
    whole = load_domain("winogrande", str(tiny_data / "winogrande.jsonl"))
    rest, taken = whole.held_back(4)
    assert len(taken.test) == 4
    assert not taken.train
    assert rest.test == whole.test
    families = {(row["option1"], row["option2"]) for row in taken.test}
    assert not families & {(row["option1"], row["option2"]) for row in rest.train}
    with pytest.raises(LaloraError, match="training rows of winogrande are too few to hold 99 back"):
        whole.held_back(99)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select": {}}, "set validation_rows under base"),
        ({"select": {"keeping": "source_accuracy"}, "validation_rows": 2}, "set accuracy_rows under base"),
        ({"select": {"alpha": 2}, "validation_rows": 2}, "'select.alpha' is 2"),
        ({"select": {"by": "eye"}, "validation_rows": 2}, "unknown key 'select.by'"),
    ],
)
def test_a_selection_that_cannot_be_made(
    changes: dict[str, Any], message: str, document: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    top = {key: changes[key] for key in ("select",)}
    base = {**document["base"], **{key: value for key, value in changes.items() if key != "select"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**document, "base": base, **top}))
    with pytest.raises(LaloraError, match=message):
        load_recipe(str(tmp_path / "tiny.yaml"))
