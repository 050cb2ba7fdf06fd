"""The trade-off of each seed by itself, against the numbers of that seed."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from lalora.report import Findings
from lalora.report.panels.each_seed import EachSeedPanel
from lalora.results import parse
from lalora.study import load_recipe
from made_up_study import found
from synthetic_study import BASE, accuracy, kl, loss, source_accuracy, synthetic


@cache
def panel_of(name: str) -> EachSeedPanel:
    return EachSeedPanel(Findings(parse(synthetic(name))))


def marks(panel: EachSeedPanel, seed: int) -> dict[str, tuple[float, float]]:
    (of,) = (of for of in panel.seeds if of.seed == seed)
    return {panel.findings.results.runs[mark.run].label: mark.at for mark in of.marks}


def test_a_seed_has_its_own_accuracies_in_percent() -> None:
    recipe = load_recipe("paper/table-1")
    panel = panel_of("paper/table-1")
    assert [of.seed for of in panel.seeds] == [42, 43, 44]
    last = recipe.runs[0].settings.steps
    for seed in (42, 43, 44):
        assert marks(panel, seed) == {
            plan.label: pytest.approx(
                (
                    100 * accuracy(plan.label, seed, "gsm8k", last),
                    100 * source_accuracy(recipe, plan.label, seed, last),
                )
            )
            for plan in recipe.runs
        }


def test_without_accuracies_it_is_learning_against_the_kl_of_the_seed() -> None:
    recipe = load_recipe("small/table-1")
    (target,), sources = recipe.study.target, recipe.study.sources
    last = recipe.runs[0].settings.steps
    found = marks(panel_of("small/table-1"), 1)
    for label in ("LoRA", "LaLoRA λ=1000", "MiLoRA"):
        gain = loss(BASE, 0, target, 0) - loss(label, 1, target, last)
        drift = sum(kl(label, 1, name, last) for name in sources) / len(sources)
        assert found[label] == pytest.approx((gain, drift))
    assert len(found) == 23


def test_all_plots_have_the_same_axes_and_one_legend_names_each_setting_once() -> None:
    panel = panel_of("paper/table-1")
    figure = panel.figure()
    assert figure is not None
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == ["seed 42", "seed 43", "seed 44"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == sorted({run.label for run in panel.findings.results.runs} | {"Base model"})
    for axes, of in zip(figure.axes, panel.seeds, strict=True):
        drawn = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]
        assert drawn[:-1] == [mark.at for mark in of.marks]
        assert drawn[-1] == pytest.approx((100 * accuracy(BASE, 0, "gsm8k", 0), 100 * base_source()))


def base_source() -> float:
    return source_accuracy(load_recipe("paper/table-1"), BASE, 0, 0)


def test_a_stronger_setting_is_larger_as_in_the_main_picture() -> None:
    panel = panel_of("paper/table-1")
    figure = panel.figure()
    assert figure is not None
    sizes = {line.get_label(): line.get_markersize() for line in figure.axes[0].lines}
    strengths = ["2", "20", "200", "2000", "20000", "200000", "2e+06"]
    ordered = [sizes[f"LaLoRA λ={strength}"] for strength in strengths]
    assert ordered == sorted(set(ordered))


def test_four_seeds_take_two_rows(seeded: dict[str, Any]) -> None:
    seeded["runs"] += [{**run, "seed": 7, "name": run["name"] + "-7"} for run in seeded["runs"] if run["seed"] == 2]
    figure = EachSeedPanel(found(seeded)).figure()
    assert figure is not None
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, True, False, False]


def test_one_seed_has_no_such_picture(results: dict[str, Any]) -> None:
    panel = EachSeedPanel(found(results))
    assert panel.is_empty
    assert panel.figure() is None
