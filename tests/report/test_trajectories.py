"""Ways and fronts of the trade-off, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.report.seeds import Spread
from lalora.report.trajectories import VIEWS
from made_up_study import found


def ends(results: dict[str, Any], places: list[tuple[float, float]]) -> dict[str, Any]:
    """Returns a study of LaLoRA runs that end at these places: fall of the target loss, KL."""
    template = results["runs"][1]
    runs = []
    for number, (gain, kl) in enumerate(places):
        row = {**template["final"], "target_loss": results["base"]["target_loss"] - gain, "source_kl": kl}
        runs.append({**template, "label": f"λ={number}", "curve": [], "final": row})
    return {**results, "runs": runs}


def test_the_front_of_a_method_joins_the_settings_that_no_other_beats(results: dict[str, Any]) -> None:
    study = ends(results, [(0.7, 0.4), (0.5, 0.45), (0.6, 0.2)])
    assert found(study).fronts["source_kl"] == [[2, 0]]


def test_two_settings_have_no_front_and_neither_has_one_that_beats_all(results: dict[str, Any]) -> None:
    assert found(ends(results, [(0.7, 0.4), (0.6, 0.2)])).fronts["source_kl"] == []
    assert found(ends(results, [(0.7, 0.1), (0.6, 0.2), (0.5, 0.3)])).fronts["source_kl"] == []


def test_a_way_is_the_mean_over_seeds(results: dict[str, Any]) -> None:
    template = results["runs"][0]
    runs = []
    for seed, kl in ((0, 0.1), (1, 0.4)):
        curve = [{"step": 0, "source_kl": 0.0}, {"step": 5 + seed, "source_kl": 9.0}]
        final = {"step": 10, "target_loss": 1.564 - kl, "source_kl": kl}
        shrunk = [{"alpha": alpha, "source_kl": alpha * kl} for alpha in (0.25, 0.5 + seed)]
        soft = [{"strength": strength, "source_kl": kl / strength} for strength in (4.0 + seed, 2.0)]
        runs.append({**template, "seed": seed, "curve": curve, "final": final, "scaled": shrunk, "softened": soft})
    study = found({**results, "runs": runs})
    (stops,) = study.paths
    assert [stop.step for stop in stops] == [0, 10]
    assert stops[1].values["source_kl"] == Spread(0.25, pytest.approx(0.15 * 2**0.5), 2)
    assert stops[1].values["source_accuracy"] is None
    end = study.end(0, VIEWS["source_kl"])
    assert end is not None
    assert end[0].mean == pytest.approx(0.25)
    assert [stop.values["source_kl"] for stop in study.scaled[0]] == [Spread(0.0625, pytest.approx(0.0375 * 2**0.5), 2)]
    assert [stop.values["source_kl"] for stop in study.softened[0]] == [Spread(0.125, pytest.approx(0.075 * 2**0.5), 2)]


def test_accuracies_count_where_a_run_has_both_at_its_end(results: dict[str, Any]) -> None:
    assert found(results).with_accuracies
    for run in results["runs"]:
        run["final"]["target_accuracy"] = None
    assert not found(results).with_accuracies
