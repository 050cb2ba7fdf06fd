"""Every table and figure of the paper that carries data: its recipe and panel give the numbers that a hand computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TypeVar

import numpy
import pytest

from lalora.report import Findings
from lalora.report.exhibits import EXHIBITS, Exhibit, markdown
from lalora.report.multiples import Multiples
from lalora.report.panels.by_data_set import ByDataSetPanel
from lalora.report.panels.changes import ChangesPanel
from lalora.report.panels.costs import CostsPanel
from lalora.report.panels.curves import CurvesPanel
from lalora.report.panels.each_seed import EachSeedPanel
from lalora.report.panels.heatmaps import HeatmapsPanel
from lalora.report.panels.multiples import ByMethodPanel, ByValuePanel
from lalora.report.panels.order import PANELS
from lalora.report.panels.panel import Panel
from lalora.report.panels.published import PublishedPanel
from lalora.report.panels.selected_table import SelectedPanel
from lalora.report.panels.selection import SelectionPanel
from lalora.report.panels.validation import ValidationPanel
from lalora.report.seeds import Spread, mean_of
from lalora.report.series import ACCURACIES, Band, Curve
from lalora.report.trajectories import VIEWS
from lalora.results import merged, parse
from lalora.results.scores import score
from lalora.results.select import selection_of
from lalora.study import load_recipe
from lalora.study.recipe.recipe import Recipe
from synthetic_study import accuracy, change, cost, source_accuracy, synthetic, weights

SEEDS = (42, 43, 44)
SOURCES = ("winogrande", "arc_challenge", "hellaswag")
DOCS = Path(__file__).parents[2] / "docs" / "studies.md"
PanelType = TypeVar("PanelType", bound=Panel)


@cache
def recipe_of(name: str) -> Recipe:
    return load_recipe(f"paper/{name}")


@cache
def findings(*recipes: str) -> Findings:
    """What the results of these recipes show, several as `lalora report` puts them together."""
    studies = {name: parse(synthetic(f"paper/{name}")) for name in recipes}
    results = next(iter(studies.values())) if len(studies) == 1 else merged(studies)
    return Findings(results if results.selection else results.model_copy(update={"selection": selection_of(results)}))


def panel(kind: type[PanelType], one: Exhibit) -> PanelType:
    assert kind.name == one.panel
    return kind(findings(*one.recipes))


def over_seeds(value: Callable[[int], float]) -> Spread:
    """Mean and deviation as a hand computes them."""
    numbers = [value(seed) for seed in SEEDS]
    return Spread(pytest.approx(fmean(numbers)), pytest.approx(stdev(numbers)), len(numbers))


def source_at(recipe: str, label: str, step: int) -> Spread:
    return over_seeds(lambda seed: source_accuracy(recipe_of(f"{recipe}"), label, seed, step))


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
    found, recipe = panel(CurvesPanel, one), recipe_of(f"{name}")
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


KFAC_AT_A_QUARTER = "LaLoRA kfac λ=0.25 fisher=token combine=mean"
TRADEOFFS = {
    "Figure 2b": ("table-1", "gsm8k", ("LoRA", "LaLoRA λ=20", "MIGU threshold=0.9", "L2 λ=0.1", "MiLoRA")),
    "Figure 7": ("table-1", "gsm8k", ("LaLoRA λ=2e+06",)),
    "Figure 11": ("math", "math", ("LoRA", "LaLoRA λ=200", "MIGU threshold=0.95")),
    "Figure 12": ("llama-3.1-8b", "gsm8k", ("LoRA", "LaLoRA λ=10000")),
    "Figure 13": ("table-1", "gsm8k", ("LoRA", "LaLoRA λ=2000", "MIGU threshold=0.7", "Flat-LoRA rho=0.01")),
    "Figure 26": ("table-1", "gsm8k", ("LoRA", "LaLoRA λ=2000", "L2 λ=0.1", KFAC_AT_A_QUARTER)),
}


@pytest.mark.parametrize("name", TRADEOFFS)
def test_ends_in_the_tradeoff(name: str) -> None:
    (one,) = [one for one in EXHIBITS if one.name == name]
    recipe, target, labels = TRADEOFFS[name]
    last = recipe_of(f"{recipe}").runs[0].settings.steps
    of = findings(*one.recipes)
    for label in labels:
        end = of.end(place(of, label), VIEWS[one.part])
        assert end == (target_at(label, last, target), source_at(recipe, label, last))


def test_figure_27_has_two_batches_beside_the_other_methods() -> None:
    of = findings("table-1", "kfac-two-batches")
    last = recipe_of("kfac").runs[0].settings.steps
    shown = {"LaLoRA λ=2000 (kfac-two-batches)": "LaLoRA λ=2000", KFAC_AT_A_QUARTER: KFAC_AT_A_QUARTER}
    for name, label in shown.items():
        at = place(of, name)
        assert of.results.runs[of.seeds[at].first].settings["source_rows"] == 8
        assert of.end(at, VIEWS["accuracy"]) == (target_at(label, last), source_at("kfac", label, last))
    # A front joins settings that differ in λ alone.
    for front in of.fronts["accuracy"]:
        runs = [of.results.runs[of.seeds[at].first] for at in front]
        assert len({(run.method, run.settings.get("curvature"), run.settings.get("source_rows")) for run in runs}) == 1


def test_figure_8_is_one_plot_a_seed() -> None:
    shown = panel(EachSeedPanel, exhibit("Figure 8"))
    assert [one.seed for one in shown.seeds] == list(SEEDS)
    runs = shown.findings.results.runs
    last = recipe_of("table-1").runs[0].settings.steps
    for one in shown.seeds:
        assert len(one.marks) == len(runs) // 3
        for mark in one.marks[::5]:
            label = runs[mark.run].label
            x = accuracy(label, one.seed, "gsm8k", last)
            y = source_accuracy(recipe_of("table-1"), label, one.seed, last)
            assert mark.at == pytest.approx((100 * x, 100 * y))


def test_table_1_has_the_selected_settings_with_their_deviation() -> None:
    one = exhibit("Table 1")
    (table,) = panel(SelectedPanel, one).tables()
    last = recipe_of("table-1").runs[0].settings.steps
    assert len(table.rows) >= 5
    for row in table.rows:
        assert row.of.source_accuracy == source_at("table-1", row.of.label, last)
        assert row.of.target_accuracy == target_at(row.of.label, last)
        assert row.of.source_accuracy_against_plain.mean == pytest.approx(
            source_at("table-1", row.of.label, last).mean.expected - source_at("table-1", "LoRA", last).mean.expected
        )


@pytest.mark.parametrize(
    ("name", "label", "printed"),
    [
        ("Table 8", "LaLoRA λ=2000", (0.649, 0.001, 0.240, 0.017)),
        ("Table 8", "Flat-LoRA rho=0.01", (0.616, 0.007, 0.253, 0.010)),
        ("Table 9", "LaLoRA λ=200", (0.632, 0.006, 0.099, 0.003)),
        ("Table 10", "LaLoRA λ=10000", (0.706, 0.005, 0.409, 0.016)),
    ],
)
def test_tables_8_to_10_have_both_deviations(name: str, label: str, printed: tuple[float, ...]) -> None:
    one = exhibit(name)
    recipe = recipe_of(f"{one.recipes[0]}")
    (target,), last = recipe.study.target, recipe.runs[0].settings.steps
    (row,) = [row for row in panel(PublishedPanel, one).rows if row.label == label]
    paper = (row.source_paper.mean, row.source_paper.deviation, row.target_paper.mean, row.target_paper.deviation)
    assert paper == printed
    assert row.source == source_at(one.recipes[0], label, last)
    assert row.target == target_at(label, last, target)


def test_table_2_has_validation_accuracies() -> None:
    rows = panel(ValidationPanel, exhibit("Table 2")).rows
    found = {row.target_paper: row.target_accuracy for row in rows}
    assert list(found) == [0.211, 0.247, 0.221]
    label = "LoRA accumulation=2 learning_rate=0.0005"
    assert found[0.247] == over_seeds(lambda seed: accuracy(label, seed, "gsm8k", 10000, "validation"))


@pytest.mark.parametrize(
    ("name", "printed"),
    [("Table 4", (0.618, 0.250, 0.44)), ("Table 6", (0.591, 0.088, 0.61)), ("Table 7", (0.619, 0.370, 0.50))],
)
def test_tables_4_6_and_7_begin_with_no_penalty(name: str, printed: tuple[float, ...]) -> None:
    one = exhibit(name)
    recipe, rows = recipe_of(f"{one.recipes[0]}"), panel(ValidationPanel, one).rows
    (plain,) = [row for row in rows if row.label == "LoRA"]
    assert (plain.source_paper, plain.target_paper, plain.score_paper) == printed
    grid = [row for row in rows if row.label.startswith(("LoRA", "LaLoRA λ"))]
    by_hand = score([mean_of(row.target_accuracy) for row in grid], [mean_of(row.source_accuracy) for row in grid])
    assert [row.score for row in grid] == pytest.approx(by_hand)
    seeds = {plan.settings.seed for plan in recipe.runs}
    last = recipe.runs[0].settings.steps
    kept = fmean(source_accuracy(recipe, "LoRA", seed, last, "validation") for seed in seeds)
    assert mean_of(plain.source_accuracy) == pytest.approx(kept)
    assert score([row.target_paper for row in grid], [row.source_paper for row in grid])[0] == pytest.approx(
        printed[2], abs=0.01
    )


def test_table_5_names_the_choices() -> None:
    found = panel(SelectionPanel, exhibit("Table 5")).tables()[0]
    recipe = recipe_of("table-4")
    labels = [plan.label for plan in recipe.runs if plan.method == "migu"]
    last = recipe.runs[0].settings.steps
    kept = {label: source_accuracy(recipe, label, 42, last, "validation") for label in labels}
    (column,) = [column for column in found.columns if column.title == "Selected for"]
    stable = [row.label for row in found.rows if row.label in labels and "stability" in column.text(row)]
    assert stable == [max(kept, key=kept.__getitem__)]


@pytest.mark.parametrize(("name", "strength"), [("Figure 3b", 2000), ("Figure 15", 20), ("Figure 15", 2000000)])
def test_sources_known_against_sources_measured(name: str, strength: float) -> None:
    shown = panel(HeatmapsPanel, exhibit(name))
    (found,) = [one for one in shown.maps if one.fixed == f"λ = {strength:g}" and one.column_title == "measured on"]
    last = recipe_of("source-data").runs[0].settings.steps
    for known, row, bar in zip(SOURCES, found.values, found.bars or [], strict=False):
        label = f"LaLoRA λ={strength:g} source_domains={known}"
        by_hand = [
            fmean(accuracy(label, seed, name, last) - accuracy("LoRA", seed, name, last) for seed in SEEDS)
            for name in SOURCES
        ]
        assert row == pytest.approx(by_hand)
        assert bar == pytest.approx(fmean(by_hand))
    assert found.columns == list(SOURCES)
    assert found.rows[:3] == list(SOURCES)
    assert sorted(found.framed) == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(("name", "rows"), [("Figure 4", 8), ("Figure 16", 4000)])
def test_batches_against_strengths(name: str, rows: int) -> None:
    learning, forgetting = panel(HeatmapsPanel, exhibit(name)).maps
    last = recipe_of("batches").runs[0].settings.steps
    (at,) = [at for at, title in enumerate(learning.rows) if title.startswith(f"{rows} (")]
    labels = [f"LaLoRA λ={strength:g} source_rows={rows}" for strength in (20, 2000, 2000000)]
    learned = [target_at(label, last).mean.expected - target_at("LoRA", last).mean.expected for label in labels]
    plain = source_at("batches", "LoRA", last).mean.expected
    kept = [source_at("batches", label, last).mean.expected - plain for label in labels]
    assert learning.values[at] == pytest.approx(learned)
    assert forgetting.values[at] == pytest.approx(kept)
    assert (learning.bars or [])[at] == pytest.approx(fmean(learned))
    assert (forgetting.bars or [])[at] == pytest.approx(fmean(kept))


def test_table_11_and_figures_3a_and_14_show_how_weights_moved() -> None:
    shown = panel(ChangesPanel, exhibit("Table 11"))
    (found,) = shown.found
    labels = [shown.findings.results.runs[run].label for run in found.runs]
    assert labels == ["LoRA", "LaLoRA λ=2000"]
    for group in found.groups:
        assert group.changes == [change(label, 42, group.of.group) for label in labels]
    for place in shown.drawn:
        run = shown.findings.results.runs[place]
        before, after = (tensor.double().numpy() for tensor in weights(run.label, 42))
        moved = run.weight_changes
        assert moved is not None
        edges = [numpy.linspace(-limit, limit, len(moved.joint) + 1) for limit in (moved.start_limit, moved.end_limit)]
        assert numpy.array_equal(moved.joint, numpy.histogram2d(before, after, bins=edges)[0])
        sizes = abs(after - before)
        assert numpy.array_equal(moved.changes, numpy.histogram(sizes, bins=moved.change_edges)[0])


GIB = 2**30


def test_tables_12_to_15_have_seconds_gib_and_orders_side_by_side() -> None:
    (table,) = panel(CostsPanel, exhibit("Table 13")).tables()
    parts = {(label, part.part): part for label, of in table.sections for part in of}
    text = {column.field: column.text for column in table.columns}
    diagonal = "LaLoRA λ=1 fisher=batch combine=sum"
    for part, seconds, held, reserved in (
        ("fit winogrande", 0.693, 6.05, 8.04),
        ("forward", 0.309, 28.44, 36.04),
        ("method", 0.006, 28.48, 36.04),
        ("backward", 0.439, 8.75, 37.51),
        ("optimizer", 0.058, 8.74, 37.51),
    ):
        row = parts[diagonal, part]
        assert row.paper_seconds == seconds
        assert (text["paper_allocated"](row), text["paper_reserved"](row)) == (f"{held:.2f}", f"{reserved:.2f}")
        assert text["allocated"](row) == f"{cost(diagonal, part, 'allocated') / GIB:.2f}"
        assert text["peak"](row) == f"{cost(diagonal, part, 'peak') / GIB:.2f}"
        assert row.seconds == cost(diagonal, part, "seconds")
    orders = {at: row.paper_order for at, row in parts.items() if row.paper_order}
    assert orders["LaLoRA kfac λ=1", "method"] == "time D_in²·r + D_out²·r + r²·(D_in + D_out), memory D_in² + D_out²"
    modes = [label for label, part in orders if part == "mode"]
    assert modes == [diagonal, "LaLoRA kfac λ=1", "LaLoRA tri-kfac λ=1"]
    assert any(label.startswith("L2") and part == "forward" for label, part in orders)


def exhibit(name: str) -> Exhibit:
    (found,) = [one for one in EXHIBITS if one.name == name]
    return found


def lines_of(found: Multiples, variant: str, curve: Curve) -> dict[str, Band]:
    (one,) = [one for one in found.variants if one.name == variant]
    return {found.values[value].text: line for value, line in found.of(one, curve)}


def test_figure_17_has_a_plot_for_each_data_set() -> None:
    shown = panel(ByDataSetPanel, exhibit("Figure 17"))
    recipe = recipe_of("per-dataset")
    steps = [0, *recipe.study.accuracy_at, recipe.runs[0].settings.steps]
    assert [curve.data_set for curve in shown.curves] == [*SOURCES, "gsm8k"]
    for curve in shown.curves:
        for label in ("LoRA", "LaLoRA λ=2000"):
            by_hand = [(float(step), scaled(of_data_set(label, str(curve.data_set), step))) for step in steps]
            assert shown.bands[curve][place(shown.findings, label)] == by_hand


def of_data_set(label: str, name: str, step: int) -> Spread:
    return over_seeds(lambda seed: accuracy(label, seed, name, step))


BY_SETTING = {
    "Figure 18": ("steps", "LaLoRA λ=2000", "1450"),
    "Figure 19": ("steps", "LaLoRA λ=2e+06", "2900"),
    "Figure 20": ("rank", "LaLoRA λ=2000", "64"),
    "Figure 21": ("rank", "LoRA", "4"),
    "Figure 22": ("rank", "LaLoRA λ=2000", "1"),
    "Figure 23": ("rank", "LaLoRA λ=20", "16"),
    "Figure 24": ("rank", "LaLoRA λ=2e+06", "4"),
    "Figure 25": ("rank", "LaLoRA λ=20", "64"),
}


@pytest.mark.parametrize("name", BY_SETTING)
def test_curves_by_length_and_rank(name: str) -> None:
    one = exhibit(name)
    setting, variant, value = BY_SETTING[name]
    shown = ({"by-value": ByValuePanel, "by-method": ByMethodPanel}[one.panel])(findings(*one.recipes))
    assert shown.multiples is not None
    assert shown.multiples.setting == setting
    forgetting, learning = shown.multiples.curves
    found = lines_of(shown.multiples, variant, learning)
    ordered = {"steps": ["1450", "2900", "4350"], "rank": ["1", "4", "16", "64"]}[setting]
    assert list(found) == [f"{setting}={number}" for number in ordered]
    (recipe,) = one.recipes
    plan = next(
        plan
        for plan in recipe_of(f"{recipe}").runs
        if str(getattr(plan.settings, setting)) == value and plan.label.split(f" {setting}=")[0] == variant
    )
    accuracy_at = recipe_of(f"{recipe}").study.accuracy_at
    steps = [0, *(step for step in accuracy_at if step < plan.settings.steps), plan.settings.steps]
    assert found[f"{setting}={value}"] == [(float(step), scaled(target_at(plan.label, step))) for step in steps]
    kept = lines_of(shown.multiples, variant, forgetting)[f"{setting}={value}"]
    assert kept == [(float(step), scaled(source_at(recipe, plan.label, step))) for step in steps]
