"""Every table and figure of the paper that carries data: its recipe and panel give the numbers that a hand computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TypeVar

import pytest

from lalora.report import Findings
from lalora.report.exhibits import EXHIBITS, Exhibit, markdown
from lalora.report.panels.curves import CurvesPanel
from lalora.report.panels.order import PANELS
from lalora.report.panels.panel import Panel
from lalora.report.seeds import Spread
from lalora.report.series import ACCURACIES
from lalora.report.trajectories import VIEWS
from lalora.results import merged, parse
from lalora.study import load_recipe
from synthetic_study import accuracy, source_accuracy, synthetic

SEEDS = (42, 43, 44)
SOURCES = ("winogrande", "arc_challenge", "hellaswag")
DOCS = Path(__file__).parents[2] / "docs" / "studies.md"
PanelType = TypeVar("PanelType", bound=Panel)


@cache
def findings(*recipes: str) -> Findings:
    studies = {name: parse(synthetic(f"paper/{name}")) for name in recipes}
    return Findings(next(iter(studies.values())) if len(studies) == 1 else merged(studies))


def panel(kind: type[PanelType], one: Exhibit) -> PanelType:
    assert kind.name == one.panel
    return kind(findings(*one.recipes))


def over_seeds(value: Callable[[int], float]) -> Spread:
    """Mean and deviation as a hand computes them."""
    numbers = [value(seed) for seed in SEEDS]
    return Spread(pytest.approx(fmean(numbers)), pytest.approx(stdev(numbers)), len(numbers))


def source_at(recipe: str, label: str, step: int) -> Spread:
    return over_seeds(lambda seed: source_accuracy(load_recipe(f"paper/{recipe}"), label, seed, step))


def target_at(label: str, step: int, target: str = "gsm8k") -> Spread:
    return over_seeds(lambda seed: accuracy(label, seed, target, step))


def place(of: Findings, label: str) -> int:
    (found,) = [place for place, seeds in enumerate(of.seeds) if seeds.label == label]
    return found


def test_the_documentation_has_the_table() -> None:
    assert markdown() in DOCS.read_text(encoding="utf-8")


def test_it_names_every_table_and_figure_of_the_paper() -> None:
    numbers = {kind: [one.name.split()[1] for one in EXHIBITS if one.name.startswith(kind)] for kind in ("T", "F")}
    assert numbers["T"] == [str(number) for number in range(1, 16)]
    parts = {"2": ["2a", "2b"], "3": ["3a", "3b"]}
    assert numbers["F"] == [name for number in map(str, range(1, 28)) for name in parts.get(number, [number])]


@pytest.mark.parametrize("one", EXHIBITS, ids=lambda one: one.name)
def test_its_panel_shows_it(one: Exhibit) -> None:
    if not one.panel:
        assert one.shows.startswith("no data")
        return
    (kind,) = [kind for kind in PANELS if kind.name == one.panel]
    assert not kind(findings(*one.recipes)).is_empty


CURVES = {
    "Figure 2a": "LaLoRA λ=2000",
    "Figure 6": "LaLoRA λ=2e+06",
    "Figure 9": "LaLoRA λ=200",
    "Figure 10": "LaLoRA λ=10000",
}


@pytest.mark.parametrize("one", [one for one in EXHIBITS if one.panel == "curves"], ids=lambda one: one.name)
def test_curves_of_accuracy(one: Exhibit) -> None:
    (name,) = one.recipes
    found, recipe = panel(CurvesPanel, one), load_recipe(f"paper/{name}")
    (target,) = recipe.study.target
    steps = [0, *recipe.study.accuracy_at, recipe.runs[0].settings.steps]
    for label in ("LoRA", CURVES[one.name]):
        at = place(found.findings, label)
        of_source, of_target = (found.bands[curve][at] for curve in ACCURACIES)
        percent = [(float(step), scaled(source_at(name, label, step))) for step in steps]
        assert of_source == percent
        assert of_target == [(float(step), scaled(target_at(label, step, target))) for step in steps]


def scaled(spread: Spread) -> Spread:
    """An accuracy in percent."""
    return Spread(
        pytest.approx(100 * spread.mean.expected), pytest.approx(100 * spread.deviation.expected), spread.seeds
    )


TRADEOFFS = {
    "Figure 2b": ("table-1", "gsm8k", ("LoRA", "LaLoRA λ=20", "MIGU threshold=0.9", "L2 λ=0.1", "MiLoRA")),
    "Figure 7": ("table-1", "gsm8k", ("LaLoRA λ=2e+06",)),
    "Figure 11": ("math", "math", ("LoRA", "LaLoRA λ=200", "MIGU threshold=0.95")),
    "Figure 12": ("llama-3.1-8b", "gsm8k", ("LoRA", "LaLoRA λ=10000")),
    "Figure 13": ("table-1", "gsm8k", ("LoRA", "LaLoRA λ=2000", "Flat-LoRA rho=0.01")),
}


@pytest.mark.parametrize("name", TRADEOFFS)
def test_ends_in_the_tradeoff(name: str) -> None:
    (one,) = [one for one in EXHIBITS if one.name == name]
    recipe, target, labels = TRADEOFFS[name]
    last = load_recipe(f"paper/{recipe}").runs[0].settings.steps
    of = findings(*one.recipes)
    for label in labels:
        end = of.end(place(of, label), VIEWS[one.part])
        assert end == (target_at(label, last, target), source_at(recipe, label, last))
