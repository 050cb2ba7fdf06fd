"""The selection of a setting for each method, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.results import parse
from lalora.results.criteria import Criteria
from lalora.results.intervals import holm
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


def test_plain_lora_is_no_penalty_in_the_grid_of_lalora_and_no_choice_of_it() -> None:
    runs = [
        run("LoRA", "lora", 0, (1.0, 0.4), (1.0, 0.4)),
        run("LaLoRA λ=1", "lalora", 0, (1.1, 0.2), (1.1, 0.2)),
        run("LaLoRA λ=9", "lalora", 0, (1.5, 0.0), (1.5, 0.0)),
        run("L2 λ=1", "l2", 0, (1.2, 0.3), (1.2, 0.3)),
        run("L2 λ=9", "l2", 0, (1.4, 0.1), (1.4, 0.1)),
    ]
    plain, lalora, l2 = selected(runs)["methods"]
    # Losses 1 to 1.5 and KL 0 to 0.4, plain LoRA's among them.
    assert plain["settings"][0]["score"] == pytest.approx(0.7)
    assert [one["score"] for one in lalora["settings"]] == pytest.approx([0.7 * 0.8 + 0.3 * 0.5, 0.3])
    assert lalora["plasticity"] == "LaLoRA λ=1"
    # The other grids are scaled by their own settings.
    assert [one["score"] for one in l2["settings"]] == pytest.approx([0.7, 0.3])


def test_one_false_verdict_among_all_is_as_rare_as_for_one_test() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    # Three seeds whose differences are 0.20, 0.21 and 0.22: t = 36.4 with two degrees of freedom, p = 0.00075.
    runs = [run("LoRA", "lora", seed, (1.0, 0.4), (1.0, 0.4)) for seed in (0, 1, 2)]
    runs += [
        run("L2 λ=1", "l2", seed, (1.0, 0.2), (1.0 + wide, 0.2 - 0.01 * seed))
        for seed, wide in enumerate((0.3, -0.3, 0))
    ]
    loss, kl = selected(runs)["comparisons"]
    assert (loss["sure"], kl["sure"]) == (False, True)
    assert kl["p"] == pytest.approx(2 * 0.00075, rel=0.01)


def test_a_run_without_a_seed_is_not_that_of_seed_0() -> None:
    runs = [run("LoRA", "lora", 0, (1.0, 0.4), (1.0, 0.4)), run("L2 λ=1", "l2", 0, (1.0, 0.3), (1.0, 0.3))]
    last = {"target_loss": 2.0, "source_kl": 0.9}
    nameless = [{**one, "name": f"{one['name']} again", "seed": None, "final": last} for one in runs]
    loss, kl = selected([*runs, *nameless])["comparisons"]
    assert (loss["seeds"], kl["seeds"], kl["mean"]) == (2, 2, pytest.approx(-0.05))


def test_a_difference_that_one_test_would_call_sure_is_not_among_many() -> None:
    # p = 0.03 alone; with eight comparisons it would have to be below 0.006.
    runs = [run("LoRA", "lora", seed, (1.0, 0.4), (1.0, 0.4)) for seed in (0, 1, 2)]
    for strength in (1, 2, 3, 4):
        steps = (0.1, 0.15, 0.2) if strength == 1 else (0.3, -0.3, 0.01)
        for seed, off in enumerate(steps):
            validation = (1.0 + 0.1 * strength, 0.5 - 0.1 * strength)
            runs.append(run(f"L2-{strength} λ=1", f"l2-{strength}", seed, validation, (1.0, 0.4 - off)))
    found = [one for one in selected(runs)["comparisons"] if one["metric"] == "source_kl"]
    assert found[0]["high"] < 0
    assert not found[0]["sure"]
