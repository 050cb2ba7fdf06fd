"""Runs that must not be averaged are refused, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.errors import LaloraError
from lalora.results.alike import alike, require_alike
from lalora.results.criteria import Criteria
from lalora.results.schema import Results, Run
from lalora.results.select import select


def run(name: str, method: str = "lalora", **settings: Any) -> Run:
    return Run(name=name, method=method, label="one", settings=settings)


def test_runs_may_differ_in_what_is_named() -> None:
    require_alike([])
    require_alike([run("a", seed=0, rank=8), run("b", seed=1, rank=8)])
    require_alike([run("a", seed=0, rank=8), run("b", seed=1, rank=4)], {"seed", "rank"})
    assert alike(run("a", rank=8), run("b", rank=8.0, seed=3))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (run("b", seed=1, rank=4), "they differ in rank (8 and 4)"),
        (run("b", seed=1, rank=8, source_domains=["x"]), 'they differ in source_domains (null and ["x"])'),
        (run("b", seed=1), "they differ in rank (8 and null)"),
        (run("b", "l2", seed=1, rank=8), 'they differ in method ("lalora" and "l2")'),
    ],
)
def test_others_are_refused_by_name_and_setting(other: Run, difference: str) -> None:
    first, second = run("a", seed=0, rank=8), run("c", seed=2, rank=8)
    assert not alike(first, other)
    with pytest.raises(LaloraError) as refused:
        require_alike([first, second, other])
    assert str(refused.value).startswith(f"a and b cannot be averaged: {difference}; ")
    assert "\n" not in str(refused.value)


def test_a_selection_does_not_average_over_a_setting() -> None:
    runs = [run("a", seed=0, rank=8).model_dump(), run("b", seed=1, rank=4).model_dump()]
    results = Results.model_validate({"format": 1, "name": "two", "base": {}, "runs": runs})
    with pytest.raises(LaloraError, match="a and b cannot be averaged: they differ in rank"):
        select(Criteria(learning="target_loss", keeping="source_kl"), results)
