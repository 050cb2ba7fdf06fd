"""Means and standard deviations over seeds, by hand."""

from __future__ import annotations

from typing import Any

from lalora.report.seeds import Spread, band, by_label, spread
from lalora.results import parse
from made_up_study import found


def test_runs_are_gathered_by_label(results: dict[str, Any], seeded: dict[str, Any]) -> None:
    study = parse(seeded)
    assert [seeds.runs for seeds in by_label(study)][:2] == [(0, 1, 2), (3, 4, 5)]
    assert len(by_label(study)) == 10
    assert found(seeded).several
    assert not found({**results, "runs": seeded["runs"][::3]}).several


def test_methods_that_share_a_label_stay_apart(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        run["label"] = "same"
    assert [seeds.runs for seeds in by_label(parse(results))] == [(0,), (1, 2)]


def test_mean_and_deviation() -> None:
    assert spread([2.0, None, 5.0, 5.0]) == Spread(mean=4.0, deviation=3**0.5, seeds=3)
    assert spread([None]) is None


def test_bars_reach_one_deviation_to_both_sides() -> None:
    found = spread([1.0, 3.0])
    assert found is not None
    assert (found.low, found.high) == (2.0 - 2**0.5, 2.0 + 2**0.5)


def test_a_band_stands_where_all_seeds_were_measured() -> None:
    shared = band([[(0.0, 1.0), (5.0, 2.0), (10.0, 4.0)], [], [(0.0, 3.0), (10.0, 8.0)]])
    assert shared == [(0.0, Spread(2.0, 2**0.5, 2)), (10.0, Spread(6.0, 8**0.5, 2))]
    assert band([[], []]) == []
    assert band([]) == []


def test_one_seed_has_no_deviation() -> None:
    assert band([[(1.0, 0.5)]]) == [(1.0, Spread(0.5, None, 1))]
