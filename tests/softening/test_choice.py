"""The search for the strength at the edge of a budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lalora import LaloraError
from lalora.scoring import RowScores
from lalora.softening._budget import within
from lalora.softening._measured import Measured


def at(strength: float) -> Measured:
    """Drift 1/(1 + λ), target loss 2 − 1/(1 + λ), so that edges are known."""
    drift = torch.tensor([1 / (1 + strength)], dtype=torch.float64)
    return Measured({"a": RowScores(drift, drift, torch.ones(1).double())}, 2 - 1 / (1 + strength))


@pytest.mark.parametrize("edge", [0.002, 0.3, 1.0, 7.0, 4e4])
def test_the_least_strength_that_keeps_the_drift(edge: float) -> None:
    choice = within(at, drift=1 / (1 + edge), floor=None)
    assert choice.met
    assert edge <= choice.strength
    assert choice.strength <= 1.16 * edge or choice.measured.drift >= 0.95 / (1 + edge)
    assert choice.measured.drift <= 1 / (1 + edge)
    assert choice.tried[choice.strength] == choice.measured


@pytest.mark.parametrize("edge", [0.002, 0.3, 1.0, 7.0, 4e4])
def test_the_largest_strength_that_keeps_the_floor(edge: float) -> None:
    choice = within(at, drift=None, floor=1 - 1 / (1 + edge))
    assert choice.met
    assert choice.strength <= edge
    assert choice.strength >= edge / 1.16 or choice.measured.target_loss - 1 >= 0.95 * (1 - 1 / (1 + edge))


def test_few_measurements() -> None:
    assert len(within(at, drift=0.02, floor=None).tried) <= 8


def test_what_fits_already_is_left_as_it_is() -> None:
    choice = within(at, drift=1.0, floor=None)
    assert (choice.strength, choice.met, len(choice.tried)) == (0.0, True, 1)


def test_a_budget_that_nothing_meets_gives_the_nearest() -> None:
    choice = within(lambda strength: at(min(strength, 3.0)), drift=0.1, floor=None)
    assert not choice.met
    assert choice.strength == 1e6
    assert choice.measured.drift == 0.25


def test_a_floor_that_nothing_touches_takes_the_largest_strength() -> None:
    assert within(at, drift=None, floor=5.0).strength == 1e6


def test_a_floor_that_everything_breaks_takes_none() -> None:
    choice = within(lambda strength: at(1e5 * strength), drift=None, floor=0.1)
    assert choice.strength == 0.0


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "0.1"])
@pytest.mark.parametrize("name", ["drift", "floor"])
def test_bad_budgets(name: str, value: Any) -> None:
    given = {"drift": None, "floor": None, name: value}
    with pytest.raises(LaloraError, match=f"{name} must be a finite number above 0"):
        within(at, **given)


@pytest.mark.parametrize("both", [None, 0.1])
def test_one_budget_it_must_be(both: float | None) -> None:
    with pytest.raises(LaloraError, match="give one of drift"):
        within(at, both, both)
