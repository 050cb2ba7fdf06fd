"""Means and deviations of every setting, against those of the made-up numbers."""

from __future__ import annotations

import csv
import io
from functools import cache
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console

from lalora.report import Findings
from lalora.report.panels.selected_table import SelectedPanel
from lalora.report.panels.settings_table import SettingsPanel
from lalora.report.tables import files_of
from lalora.report.terminal import printed
from lalora.results import parse
from lalora.results.select import selection_of
from lalora.study import load_recipe
from made_up_study import found
from synthetic_study import accuracy, kl, loss, source_accuracy, synthetic


@cache
def findings(name: str) -> Findings:
    results = parse(synthetic(name))
    results.selection = selection_of(results)
    return Findings(results)


def csv_of(table: Any, label: str) -> dict[str, str]:
    lines = csv.DictReader(io.StringIO(files_of(table)[f"{table.file}.csv"].decode()))
    (line,) = (line for line in lines if line["label"] == label)
    return line


def measured(line: dict[str, str], field: str) -> tuple[float, float]:
    return float(line[field]), float(line[f"{field}_deviation"])


def of_seeds(values: list[float]) -> Any:
    return pytest.approx((fmean(values), stdev(values)))


def test_a_row_is_mean_and_deviation_of_its_three_seeds() -> None:
    recipe = load_recipe("paper/table-1")
    (table,) = SettingsPanel(findings("paper/table-1")).tables()
    last, label, seeds = recipe.runs[0].settings.steps, "LaLoRA λ=2000", (42, 43, 44)
    line = csv_of(table, label)
    assert (line["seeds"], line["method"]) == ("3", "lalora")
    source = {one: [source_accuracy(recipe, one, seed, last) for seed in seeds] for one in (label, "LoRA")}
    target = {one: [accuracy(one, seed, "gsm8k", last) for seed in seeds] for one in (label, "LoRA")}
    assert measured(line, "source_accuracy") == of_seeds(source[label])
    assert measured(line, "target_accuracy") == of_seeds(target[label])
    assert measured(line, "target_loss") == of_seeds([loss(label, seed, "gsm8k", last) for seed in seeds])
    forgetting = [ours - plain for ours, plain in zip(source[label], source["LoRA"], strict=True)]
    learning = [ours - plain for ours, plain in zip(target[label], target["LoRA"], strict=True)]
    assert measured(line, "source_accuracy_against_plain") == of_seeds(forgetting)
    assert measured(line, "target_accuracy_against_plain") == of_seeds(learning)
    assert measured(csv_of(table, "LoRA"), "source_accuracy_against_plain") == (0.0, 0.0)


def test_cells_are_in_percent_and_points(seeded: dict[str, Any]) -> None:
    for run, source, target in zip(seeded["runs"], (0.60, 0.61, 0.62, 0.65, 0.65, 0.65), (0.2,) * 6, strict=False):
        run["final"] |= {"source_accuracy": source, "target_accuracy": target}
    (table,) = SettingsPanel(found(seeded)).tables()
    cells = {column.field: column.text(table.rows[1]) for column in table.columns}
    assert cells["source_accuracy"] == "65.0 ± 0.0"
    assert cells["source_accuracy_against_plain"] == "+4.0 ± 1.0"
    assert cells["target_accuracy_against_plain"] == "0.0 ± 0.0"
    assert [column.text(table.rows[0]) for column in table.columns][-4] == "61.0 ± 1.0"


def test_without_accuracies_there_is_held_out_text() -> None:
    (table,) = SettingsPanel(findings("small/table-1")).tables()
    assert [column.field for column in table.columns] == ["label", "seeds", "target_loss", "source_kl", "heldout_kl"]
    recipe = load_recipe("small/table-1")
    held_out, last = recipe.study.held_out, recipe.runs[0].settings.steps
    values = [fmean(kl("LaLoRA λ=1000", seed, name, last) for name in held_out) for seed in (0, 1, 2)]
    assert measured(csv_of(table, "LaLoRA λ=1000"), "heldout_kl") == of_seeds(values)


def test_a_seed_without_plain_lora_is_not_compared(seeded: dict[str, Any]) -> None:
    seeded["runs"] = [run for run in seeded["runs"] if (run["method"], run["seed"]) != ("lora", 2)]
    first = found(seeded).averages[1]
    assert first.source_accuracy is not None and first.source_accuracy.seeds == 3
    assert first.source_accuracy_against_plain is not None and first.source_accuracy_against_plain.seeds == 2


def test_one_seed_has_no_such_table(results: dict[str, Any]) -> None:
    assert SettingsPanel(found(results)).tables() == []
    assert SelectedPanel(found(results)).tables() == []


@pytest.mark.parametrize("name", ["paper/table-1", "small/table-1", "paper/kfac"])
def test_both_tables_fit_the_terminal(name: str) -> None:
    console = Console(width=100, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(*(printed(panel(findings(name)).tables()[0]) for panel in (SettingsPanel, SelectedPanel)))
    assert max(map(len, capture.get().splitlines())) <= 100
    assert "…" not in capture.get()


def test_the_selected_settings_with_what_they_were_selected_for() -> None:
    of = findings("paper/table-1")
    (table,) = SelectedPanel(of).tables()
    selection = of.results.selection
    assert selection is not None
    expected = []
    for method in selection.methods:
        if len(method.settings) == 1:
            expected.append((method.stability, "–"))
        elif method.stability == method.plasticity:
            expected.append((method.stability, "stability, plasticity"))
        else:
            expected += [(method.stability, "stability"), (method.plasticity, "plasticity")]
    assert [(row.of.label, row.purpose) for row in table.rows] == expected
    assert len({purpose for _, purpose in expected}) > 2
    recipe = load_recipe("paper/table-1")
    last, label = recipe.runs[0].settings.steps, selection.methods[1].plasticity
    values = [source_accuracy(recipe, label, seed, last) for seed in (42, 43, 44)]
    plain = [source_accuracy(recipe, "LoRA", seed, last) for seed in (42, 43, 44)]
    line = csv_of(table, label)
    assert measured(line, "source_accuracy") == of_seeds(values)
    assert measured(line, "source_accuracy_against_plain") == of_seeds(
        [one - other for one, other in zip(values, plain, strict=True)]
    )


def test_settings_selected_by_kl_are_compared_in_nats() -> None:
    (table,) = SelectedPanel(findings("small/table-1")).tables()
    fields = ["source_kl", "target_loss", "source_kl_against_plain", "target_loss_against_plain"]
    assert [column.field for column in table.columns[3:]] == fields
    recipe = load_recipe("small/table-1")
    (target,), last = recipe.study.target, recipe.runs[0].settings.steps
    label = table.rows[1].of.label
    differences = [loss(label, seed, target, last) - loss("LoRA", seed, target, last) for seed in (0, 1, 2)]
    assert measured(csv_of(table, label), "target_loss_against_plain") == of_seeds(differences)


def test_a_floor_is_a_purpose_of_its_own(results: dict[str, Any]) -> None:
    settings = [{"label": label} for label in ("LaLoRA λ=1", "LaLoRA λ=10")]
    method = {"method": "lalora", "knob": "strength", "settings": settings, "stability": "LaLoRA λ=10"}
    chosen = {**method, "plasticity": "LaLoRA λ=1", "above_floor": "LaLoRA λ=1"}
    selection = {"alpha": 0.7, "learning": "target_loss", "keeping": "source_loss", "methods": [chosen]}
    (table,) = SelectedPanel(found({**results, "selection": selection})).tables()
    assert [(row.of.label, row.purpose) for row in table.rows] == [
        ("LaLoRA λ=10", "stability"),
        ("LaLoRA λ=1", "plasticity, floor"),
    ]
    assert table.columns[3].text(table.rows[0]) == "4.069"
