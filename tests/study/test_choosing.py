"""A study that chooses a setting of each method: on rows of their own, told by the scored ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalora import LaloraError
from lalora.domains import load_domain
from lalora.report import selection_tables
from lalora.study import load_recipe, run_study
from lalora.study.choosing import choose
from lalora.study.settings import SelectSettings

RecipeFile = Callable[..., str]


def study(recipe: str, folder: Path) -> dict[str, Any]:
    return run_study(load_recipe(recipe), folder, "lalora run tiny", lambda said: None)


def run(
    label: str, method: str, seed: int, validation: tuple[float, float], final: tuple[float, float]
) -> dict[str, Any]:
    rows = [{"target_loss": loss, "source_kl": kl} for loss, kl in (validation, final)]
    settings = {"seed": seed, "strength": float(label.split("=")[1])} if "=" in label else {"seed": seed}
    return {
        "label": label,
        "method": method,
        "seed": seed,
        "settings": settings,
        "validation": rows[0],
        "final": rows[1],
    }


RUNS = [
    run("LoRA", "lora", 0, (1.0, 0.4), (1.0, 0.40)),
    run("LoRA", "lora", 1, (1.2, 0.6), (1.2, 0.60)),
    run("L2 λ=1", "l2", 0, (1.1, 0.3), (1.0, 0.30)),
    run("L2 λ=1", "l2", 1, (1.1, 0.3), (1.3, 0.30)),
    run("L2 λ=9", "l2", 0, (1.5, 0.1), (1.6, 0.10)),
    run("L2 λ=9", "l2", 1, (1.7, 0.1), (1.8, 0.10)),
    run("L2 λ=99", "l2", 0, (9.0, 0.0), (9.0, 0.0)),
]


def test_the_choice_by_hand() -> None:
    found = choose(SelectSettings(floor=0.2), {"target_loss": 2.0, "source_kl": 0.0}, RUNS)
    plain, l2 = found["methods"]
    assert (plain["stability"], plain["plasticity"], plain["above_floor"]) == ("LoRA", "LoRA", None)
    # λ=99 was run with one seed of two and is left out.
    assert [setting["label"] for setting in l2["settings"]] == ["L2 λ=1", "L2 λ=9"]
    assert [setting["score"] for setting in l2["settings"]] == pytest.approx([0.7, 0.3])
    assert [setting["learning"] for setting in l2["settings"]] == pytest.approx([1.1, 1.6])
    assert (l2["knob"], l2["stability"], l2["plasticity"], l2["above_floor"]) == (
        "strength", "L2 λ=9", "L2 λ=1", "L2 λ=9",
    )  # fmt: skip
    # Scored rows, from the corner (base loss 2, worst KL 0.6): (0.85, 0.3) and (0.3, 0.5).
    assert l2["hypervolume"] == pytest.approx(0.3 * 0.5 + 0.55 * 0.3)
    assert plain["hypervolume"] == pytest.approx(0.9 * 0.1)
    assert found["baseline"] == "LoRA"
    loss, kl = [one for one in found["comparisons"] if one["label"] == "L2 λ=1"]
    assert (loss["metric"], kl["metric"]) == ("target_loss", "source_kl")
    # Differences 0 and 0.1; 12.706 is Student's quantile of one degree of freedom.
    assert (loss["mean"], loss["low"]) == pytest.approx((0.05, 0.05 - 12.706 * 0.05), abs=1e-4)
    assert not loss["sure"]
    assert (kl["mean"], kl["high"]) == pytest.approx((-0.2, -0.2 + 12.706 * 0.1), abs=1e-3)
    assert not kl["sure"]
    assert found["left_out"] == ["L2 λ=99"]


def test_a_setting_that_ended_without_a_number_is_left_out() -> None:
    ruined = [run("L2 λ=1", "l2", seed, (float("nan"), 0.3), (1.0, 0.3)) for seed in (0, 1)]
    base = {"target_loss": 2.0, "source_kl": 0.0}
    found = choose(SelectSettings(), base, [*RUNS[:2], *ruined])
    assert [one["method"] for one in found["methods"]] == ["lora"]
    assert found["left_out"] == ["L2 λ=1"]
    assert choose(SelectSettings(), base, ruined)["methods"] == []


def test_a_study_chooses_and_tells(recipe_file: RecipeFile, tmp_path: Path) -> None:
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
    assert len(selection_tables(results)) == 2
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
def test_a_choice_that_cannot_be_made(
    changes: dict[str, Any], message: str, document: dict[str, Any], tmp_path: Path
) -> None:
    import yaml

    top = {key: changes[key] for key in ("select",)}
    base = {**document["base"], **{key: value for key, value in changes.items() if key != "select"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**document, "base": base, **top}))
    with pytest.raises(LaloraError, match=message):
        load_recipe(str(tmp_path / "tiny.yaml"))
