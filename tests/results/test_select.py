"""The selection of a setting for each method, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.results import parse
from lalora.results.criteria import Criteria
from lalora.results.select import select


def run(
    label: str, method: str, seed: int, validation: tuple[float, float], final: tuple[float, float]
) -> dict[str, Any]:
    rows = [{"target_loss": loss, "source_kl": kl} for loss, kl in (validation, final)]
    settings = {"seed": seed, "strength": float(label.split("=")[1])} if "=" in label else {"seed": seed}
    return {
        "name": f"{label} {seed}",
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


def selected(runs: list[dict[str, Any]], **criteria: Any) -> dict[str, Any]:
    study = {"format": 1, "name": "by hand", "base": {"target_loss": 2.0, "source_kl": 0.0}, "runs": runs}
    return select(Criteria(**criteria), parse(study)).model_dump()


def test_the_selection_by_hand() -> None:
    found = selected(RUNS, floor=0.2)
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
    found = selected([*RUNS[:2], *ruined])
    assert [one["method"] for one in found["methods"]] == ["lora"]
    assert found["left_out"] == ["L2 λ=1"]
    assert selected(ruined)["methods"] == []


def test_a_base_that_was_not_measured_selects_nothing() -> None:
    study = {"format": 1, "name": "by hand", "base": {}, "runs": RUNS}
    assert select(Criteria(), parse(study)).methods == []
