"""Counts of weights that somebody forged are refused in one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lalora import LaloraError
from lalora.results import parse

COUNTS: dict[str, Any] = {
    "weights": 6,
    "start_limit": 0.5,
    "end_limit": 2,
    "joint": [[1, 0], [2, 3]],
    "least_change": 1e-8,
    "most_change": 10.0,
    "changes": [0, 1, 2],
    "unchanged": 1,
    "smaller": 2,
    "larger": 0,
}


def with_counts(results: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    counts = {**COUNTS, "joint": [[*row] for row in COUNTS["joint"]], "changes": [*COUNTS["changes"]]}
    change(counts)
    results["runs"][0]["weight_changes"] = counts
    return results


def test_counts_that_agree_are_read(results: dict[str, Any]) -> None:
    first, second, *_ = parse(with_counts(results, lambda _: None)).runs
    assert first.weight_changes is not None
    assert first.weight_changes.model_dump() == COUNTS
    assert second.weight_changes is None


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "lengths": (lambda c: c["joint"][0].append(0), "rows of 'joint' have different lengths"),
    "sum": (lambda c: c["joint"][0].__setitem__(0, 2), "counts in 'joint' do not add up to 'weights'"),
    "changes": (lambda c: c.update(larger=1), "counts of changes do not add up to 'weights'"),
    "negative": (lambda c: c["changes"].__setitem__(0, -1), r"weight_changes\.changes\.0': .*greater than or equal"),
    "fraction": (lambda c: c["joint"][1].__setitem__(0, 2.5), r"weight_changes\.joint\.1\.0': .*valid integer"),
    "truth": (lambda c: c["joint"][0].__setitem__(0, True), r"weight_changes\.joint\.0\.0': .*valid integer"),
    "text": (lambda c: c.update(unchanged="1"), r"weight_changes\.unchanged': .*valid integer"),
    "huge": (lambda c: c.update(weights=10**29), r"weight_changes\.weights': .*less than or equal"),
    "no bins": (lambda c: c.update(joint=[]), r"weight_changes\.joint': .*at least 1 item"),
    "empty row": (lambda c: c.update(joint=[[], []]), r"weight_changes\.joint\.0': .*at least 1 item"),
    "many bins": (lambda c: c.update(changes=[0] * 201), r"weight_changes\.changes': .*at most 200"),
    "limit": (lambda c: c.update(start_limit=0.0), r"weight_changes\.start_limit': .*greater than or equal"),
    "tiny": (lambda c: c.update(end_limit=1e-300), r"weight_changes\.end_limit': .*greater than or equal"),
    "nan": (lambda c: c.update(end_limit=float("nan")), r"weight_changes\.end_limit': "),
    "range": (lambda c: c.update(least_change=10.0), "'least_change' is not below 'most_change'"),
    "more": (lambda c: c.update(note="x"), r"weight_changes\.note': Extra inputs"),
    "less": (lambda c: c.pop("smaller"), r"weight_changes\.smaller': Field required"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_counts_are_refused_in_one_line(case: str, results: dict[str, Any]) -> None:
    change, message = FORGED[case]
    with pytest.raises(LaloraError, match=message) as caught:
        parse(with_counts(results, change))
    assert "runs.0.weight_changes" in str(caught.value)
    assert "\n" not in str(caught.value)
