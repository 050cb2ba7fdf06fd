"""What the trade-off picture draws."""

from collections.abc import Iterable
from statistics import fmean, stdev
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lalora.report.look import QUIET
from lalora.report.panels.tradeoff import TradeoffPanel
from lalora.study import load_recipe
from made_up_study import found
from synthetic_study import accuracy, source_accuracy, synthetic


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], list[float], Axes]]:
    calls = []
    plot = Axes.plot

    def watched(self: Axes, xs: Any, ys: Any, *args: Any, **style: Any) -> Any:
        calls.append((list(xs), list(ys), self))
        return plot(self, xs, ys, *args, **style)

    monkeypatch.setattr(Axes, "plot", watched)
    return calls


def tradeoff(results: dict[str, Any]) -> Figure:
    return TradeoffPanel(found(results)).figure()


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
    template = {**results["runs"][1], "scaled": [], "softened": [], "after": []}
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
    # The last one was published but not run.
    ends = [(24.0, 51.5, 0.7, 0.9), (21.0, 56.5, 0.0, 0.0), (90.0, 90.0, 0.0, 0.0)]
    assert bars == [pytest.approx(end) for end in ends]


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


def texts(figure: Figure) -> list[str]:
    legend = [text.get_text() for one in figure.legends for text in one.get_texts()]
    return legend + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_published_setting_that_was_not_run_is_grey_and_named(seeded: dict[str, Any]) -> None:
    figure = tradeoff(seeded)
    assert {"Never run", "As published, not run here"} <= set(texts(figure))
    (grey,) = (bars for bars in figure.axes[-1].containers if bars.get_label() == "As published, not run here")
    assert grey[0].get_color() == QUIET
    assert "grey where the setting was not run here" in figure.get_suptitle().replace("\n", " ")
    del seeded["published"][2]
    figure = tradeoff(seeded)
    assert not {"Never run", "As published, not run here"} & set(texts(figure))


def test_one_seed_and_nothing_published_need_no_words_on_bars(results: dict[str, Any]) -> None:
    assert tradeoff(results).get_suptitle() == ""


def test_bars_and_pale_marks_are_explained(seeded: dict[str, Any]) -> None:
    text = tradeoff(seeded).get_suptitle().replace("\n", " ")
    assert "bars: ± one standard deviation. Pale marks: single seeds, joined to their mean." in text


@pytest.mark.parametrize("name", ["paper/math", "paper/llama-3.1-8b", "paper/flat-lora", "paper/kfac"])
def test_every_seed_is_joined_to_the_mean_of_its_setting(name: str, drawn: Any) -> None:
    recipe = load_recipe(name)
    (target,) = recipe.study.target
    figure = tradeoff(synthetic(name))
    lines = {tuple(rounded(zip(xs, ys, strict=True))) for xs, ys, axes in drawn if axes is figure.axes[-1]}
    for label in dict.fromkeys(plan.label for plan in recipe.runs):
        of = [(plan.settings.seed, plan.settings.steps) for plan in recipe.runs if plan.label == label]
        xs = [100 * accuracy(label, seed, target, last) for seed, last in of]
        ys = [100 * source_accuracy(recipe, label, seed, last) for seed, last in of]
        mean = (fmean(xs), fmean(ys))
        assert tuple(rounded([mean])) in lines
        for at in zip(xs, ys, strict=True):
            assert tuple(rounded([at])) in lines
            assert tuple(rounded([at, mean])) in lines


@pytest.mark.parametrize("name", ["paper/math", "paper/llama-3.1-8b", "paper/flat-lora", "paper/kfac"])
def test_bars_measured_and_published_reach_one_deviation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found_bars = []
    errorbar = Axes.errorbar

    def watched(self: Axes, x: Any, y: Any, *, xerr: Any, yerr: Any, **style: Any) -> Any:
        kind = "published" if style.get("markerfacecolor") == "white" else "measured"
        found_bars.append((self, kind, x, y, xerr, yerr))
        return errorbar(self, x, y, xerr=xerr, yerr=yerr, **style)

    monkeypatch.setattr(Axes, "errorbar", watched)
    results = synthetic(name)
    figure = tradeoff(results)
    here = [bars for axes, *bars in found_bars if axes is figure.axes[-1]]
    recipe = load_recipe(name)
    (target,) = recipe.study.target
    expected = []
    for label in dict.fromkeys(plan.label for plan in recipe.runs):
        of = [(plan.settings.seed, plan.settings.steps) for plan in recipe.runs if plan.label == label]
        xs = [100 * accuracy(label, seed, target, last) for seed, last in of]
        ys = [100 * source_accuracy(recipe, label, seed, last) for seed, last in of]
        expected.append((fmean(xs), fmean(ys), stdev(xs), stdev(xs), stdev(ys), stdev(ys)))
    flat = [(x, y, *(side[0] for side in (*xerr, *yerr))) for kind, x, y, xerr, yerr in here if kind == "measured"]
    assert flat == [pytest.approx(one) for one in expected]
    assert [tuple(bars[1:]) for bars in here if bars[0] == "published"] == [
        pytest.approx(
            tuple(
                100 * (one.get(key) or 0.0)
                for key in ("target_accuracy", "source_accuracy", "target_spread", "source_spread")
            )
        )
        for one in results["published"]
    ]
