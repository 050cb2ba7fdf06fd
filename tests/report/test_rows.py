from copy import deepcopy
from typing import Any

import pytest

from lalora.report.series import CURVES, points, predictions, smooth
from lalora.results import parse
from made_up_study import found


def test_shares_against_plain_lora(results: dict[str, Any]) -> None:
    base, plain, weak, _ = found(results).rows
    assert base.gain is None and base.source_rise is None
    assert plain.forgetting_removed is None and plain.gain_kept is None
    assert weak.forgetting_removed == pytest.approx(1 - weak.source_kl / plain.source_kl)
    assert weak.gain_kept == pytest.approx(
        (base.target_loss - weak.target_loss) / (base.target_loss - plain.target_loss)
    )
    assert weak.source_rise == pytest.approx(0.031)


def test_the_partner_has_the_same_seed(results: dict[str, Any]) -> None:
    for run in deepcopy(results["runs"]):
        run["seed"] = 1
        run["final"]["source_kl"] *= 2 if run["method"] == "lora" else 1
        results["runs"].append(run)
    _, _, first, _, _, second, _ = found(results).rows
    assert 1 - second.forgetting_removed == pytest.approx((1 - first.forgetting_removed) / 2)
    assert (first.label, second.label) == ("LaLoRA λ=1, seed 0", "LaLoRA λ=1, seed 1")


@pytest.mark.parametrize("kl", [0.0, None, float("nan"), float("inf")])
def test_no_share_of_a_drift_that_is_not_there(results: dict[str, Any], kl: float | None) -> None:
    results["runs"][0]["final"]["source_kl"] = kl
    assert [row.forgetting_removed for row in found(results).rows] == [None] * 4


def test_a_run_without_an_end_has_no_numbers(results: dict[str, Any]) -> None:
    results["runs"][1]["final"] = None
    row = found(results).rows[2]
    assert row.target_loss is row.gain is row.forgetting_removed is None


def test_base_may_know_little(results: dict[str, Any]) -> None:
    results["base"] = {"target_loss": 1.5}
    assert found(results).rows[0].source_kl is None


def test_the_final_row_completes_the_curve(results: dict[str, Any]) -> None:
    run = results["runs"][0]
    run["final"] = {**run["final"], "source_accuracy": 0.5}
    parsed = parse(results).runs[0]
    assert [row.step for row in parsed.points] == [0, 10, 20, 30, 40, 50, 60]
    assert parsed.points[-1].source_accuracy == run["final"]["source_accuracy"]


def test_long_curves_are_thinned_without_bias(results: dict[str, Any]) -> None:
    results["runs"][0]["train"] = [{"step": step, "loss": float(step)} for step in range(1, 3001)]
    curve = points(parse(results).runs[0], CURVES[0])
    assert len(curve) == 300
    assert all(x == pytest.approx(y) for x, y in curve)


def test_smoothing_keeps_a_line_and_its_ends() -> None:
    line = [(float(x), 2.0 * x) for x in range(100)]
    assert smooth(line) == line
    assert smooth([]) == []


def test_predictions_meet_the_evaluation_that_follows(results: dict[str, Any]) -> None:
    plain, weak, _ = parse(results).runs
    assert predictions(plain) == []
    pairs = predictions(weak)
    assert [step for step, _, _ in pairs] == [10, 20, 30, 40, 50, 60]
    assert pairs[-1][1] == pytest.approx(0.8 * 0.071)
    assert pairs[-1][2] == weak.points[-1].source_kl


def test_no_share_against_another_seed(results: dict[str, Any]) -> None:
    results["runs"][0]["seed"] = 1
    assert [row.gain_kept for row in found(results).rows] == [None] * 4
