"""What the trade-off picture draws."""

from collections.abc import Iterable
from typing import Any

import pytest
from matplotlib.axes import Axes

from lalora.report.panels.tradeoff import TradeoffPanel
from made_up_study import found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[float], Axes]]:
    calls = []
    plot = Axes.plot

    def watched(self: Axes, xs: Any, ys: Any, *args: Any, **style: Any) -> Any:
        calls.append((list(xs), list(ys), self))
        return plot(self, xs, ys, *args, **style)

    monkeypatch.setattr(Axes, "plot", watched)
    return calls


def tradeoff(results: dict[str, Any]) -> None:
    TradeoffPanel(found(results)).figure()


def pairs(results: dict[str, Any], run: dict[str, Any], drift: str) -> list[tuple[float, float]]:
    return [(results["base"]["target_loss"] - row["target_loss"], row[drift]) for row in run["curve"]]


def rounded(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(round(x, 9), round(y, 9)) for x, y in pairs]


def test_every_run_is_a_path_on_both_kinds_of_text(results: dict[str, Any], drawn: Any) -> None:
    tradeoff(results)
    lines = [rounded(zip(xs, ys, strict=True)) for xs, ys, _ in drawn]
    for run in results["runs"]:
        for drift in ("source_kl", "heldout_kl"):
            assert rounded(pairs(results, run, drift)) in lines
    assert len({axes for *_, axes in drawn}) == 3  # the runs know their accuracies too


def test_runs_without_a_way_are_joined_by_strength(results: dict[str, Any], drawn: Any) -> None:
    template = results["runs"][1]
    ends = {10: (0.5, 0.2), 1: (0.7, 0.4), 100: (0.3, 0.1)}
    runs = []
    for strength, (gain, kl) in ends.items():
        row = {**template["curve"][-1], "target_loss": results["base"]["target_loss"] - gain, "source_kl": kl}
        settings = {"curvature": "kfac", "strength": strength, "seed": 0}
        curve = [{**template["curve"][0], "step": 0}, row]
        told = {"label": f"λ={strength}", "strength": strength, "settings": settings}
        runs.append({**template, **told, "curve": curve, "final": row})
    tradeoff({**results, "runs": runs})
    lines = [rounded(zip(xs, ys, strict=True)) for xs, ys, _ in drawn if len(xs) == 3]
    assert [ends[1], ends[10], ends[100]] in lines


def test_seeds_are_not_joined(results: dict[str, Any], drawn: Any) -> None:
    template = {**results["runs"][1], "scaled": [], "softened": []}
    runs = []
    for seed in (0, 1):
        for strength in (1, 10):
            settings = {"curvature": "kfac", "strength": strength, "seed": seed}
            row = template["curve"][-1]
            curve = [{**template["curve"][0], "step": 0}, row]
            told = {"label": f"λ={strength}", "strength": strength, "seed": seed, "settings": settings}
            runs.append({**template, **told, "curve": curve, "final": row})
    tradeoff({**results, "runs": runs})
    assert max(len(xs) for xs, _, _ in drawn) == 2


def test_a_mark_stands_at_the_mean_with_its_seeds_around_it(seeded: dict[str, Any], drawn: Any) -> None:
    tradeoff(seeded)
    plain = [(0.704, 0.182 * 0.95), (0.724, 0.182), (0.744, 0.182 * 1.05)]
    for run, (gain, kl) in zip(seeded["runs"], plain, strict=False):
        run["final"] |= {"target_loss": seeded["base"]["target_loss"] - gain, "source_kl": kl}
    drawn.clear()
    tradeoff(seeded)
    lines = [rounded(zip(xs, ys, strict=True)) for xs, ys, _ in drawn]
    for mark in [*plain, (0.724, 0.182)]:
        assert rounded([mark]) in lines


def test_without_accuracies_there_is_no_panel_of_them(results: dict[str, Any], drawn: Any) -> None:
    for run in results["runs"]:
        for row in [*run["curve"], run["final"]]:
            row["target_accuracy"] = None
    tradeoff(results)
    assert len({axes for *_, axes in drawn}) == 2


def test_published_points_are_hollow_and_in_percent(seeded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []
    errorbar = Axes.errorbar

    def watched(self: Axes, *args: Any, **style: Any) -> Any:
        if style.get("markerfacecolor") == "white":
            bars.append((*args, style["xerr"], style["yerr"]))
        return errorbar(self, *args, **style)

    monkeypatch.setattr(Axes, "errorbar", watched)
    tradeoff(seeded)
    assert bars == [pytest.approx((24.0, 51.5, 0.7, 0.9)), pytest.approx((21.0, 56.5, 0.0, 0.0))]


def test_an_end_that_was_not_measured_is_not_drawn(results: dict[str, Any], drawn: Any) -> None:
    run = {
        **results["runs"][0],
        "final": {**results["runs"][0]["final"], "source_kl": None, "heldout_kl": None, "source_accuracy": None},
    }
    tradeoff({**results, "runs": [run]})
    assert not any(len(xs) == 1 and xs != [0] for xs, _, _ in drawn)


def test_without_held_out_text_there_is_one_panel(results: dict[str, Any], drawn: Any) -> None:
    for run in results["runs"]:
        for row in [*run["curve"], run["final"]]:
            row["heldout_kl"] = row["source_accuracy"] = None
    tradeoff(results)
    assert len({axes for *_, axes in drawn}) == 1
