"""Published numbers beside measured ones, by hand."""

from __future__ import annotations

import csv
import io
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console

from lalora.report.panels.published import COLUMNS, Beside, PublishedPanel, beside
from lalora.report.tables import files_of
from lalora.report.terminal import printed
from lalora.study import load_recipe
from made_up_study import found, page
from synthetic_study import accuracy, source_accuracy, synthetic


def cells(row: Beside) -> list[str]:
    return [column.text(row) for column in COLUMNS[1:]]


def study(results: dict[str, Any]) -> dict[str, Any]:
    for run, source, target in zip(results["runs"], (0.60, 0.63, 0.66), (0.25, 0.24, 0.20), strict=True):
        run["final"] |= {"source_accuracy": source, "target_accuracy": target}
    results["base"] |= {"source_accuracy": 0.67, "target_accuracy": 0.05}
    results["published"] = [
        {"run": "LoRA", "source_accuracy": 0.609, "target_accuracy": 0.248},
        {"run": "LaLoRA λ=10", "source_accuracy": 0.635, "target_accuracy": 0.253, "source_spread": 0.004},
    ]
    return results


def test_differences_are_against_plain_lora_and_against_the_base(results: dict[str, Any]) -> None:
    plain, lalora = beside(found(study(results)))
    assert cells(plain)[:10] == ["60.9", "60.0", "−0.9", "24.8", "25.0", "+0.2", "0.0", "0.0", "0.0", "0.0"]
    assert cells(lalora)[:10] == ["63.5 ± 0.4", "66.0", "+2.5", "25.3", "20.0", "−5.3", "+2.6", "+6.0", "+0.5", "−5.0"]
    assert (lalora.source_of_base, lalora.target_of_base) == pytest.approx((-0.01, 0.15))


def test_seeds_are_averaged_and_what_was_not_measured_is_missing(results: dict[str, Any]) -> None:
    study(results)
    twin = {**results["runs"][2], "name": "twin", "seed": 1, "final": {**results["runs"][2]["final"]}}
    twin["final"]["source_accuracy"] = 0.70
    del results["runs"][0]["final"]["source_accuracy"]
    plain, lalora = beside(found({**results, "runs": [*results["runs"], twin]}))
    assert lalora.source is not None
    assert (lalora.source_paper.mean, lalora.source.mean) == pytest.approx((0.635, 0.68))
    assert lalora.source.deviation == pytest.approx(0.04 / 2**0.5)
    assert cells(lalora)[:2] == ["63.5 ± 0.4", "68.0 ± 2.8"]
    assert lalora.kept is None
    assert cells(plain)[1] == "–"


def test_it_stands_in_terminal_and_page(results: dict[str, Any]) -> None:
    assert PublishedPanel(found(results)).tables() == []
    assert "Published and measured" not in page(results)
    (table,) = PublishedPanel(found(study(results))).tables()
    assert len(table.rows) == 2
    assert "Published and measured" in page(results)


def test_a_setting_that_was_not_run_keeps_its_published_numbers(results: dict[str, Any]) -> None:
    study(results)["published"].append(
        {"run": "MiLoRA", "source_accuracy": 0.623, "source_spread": 0.002, "target_accuracy": 0.24}
    )
    row = beside(found(results))[2]
    assert [row.label, *cells(row)] == [
        *("MiLoRA", "62.3 ± 0.2", "–", "–", "24.0", "–", "–", "+1.4", "–", "−0.8", "–"),
    ]


@pytest.mark.parametrize(
    "name", ["paper/table-1", "paper/math", "paper/llama-3.1-8b", "paper/flat-lora", "paper/kfac", "paper/table-2"]
)
def test_the_tables_of_the_paper_beside_the_runs_of_its_recipes(name: str) -> None:
    recipe = load_recipe(name)
    panel = PublishedPanel(found(synthetic(name)))
    published = {one.run: one for one in panel.findings.results.published}
    if not published:
        assert panel.tables() == []
        return
    (table,) = panel.tables()
    rows = list(csv.DictReader(io.StringIO(files_of(table)["published.csv"].decode())))
    assert [row["label"] for row in rows] == list(published)
    (target,) = recipe.study.target
    for row in rows:
        paper, plans = published[row["label"]], [plan for plan in recipe.runs if plan.label == row["label"]]
        assert (float(row["source_paper"]), float(row["target_paper"])) == (
            paper.source_accuracy,
            paper.target_accuracy,
        )
        for field in ("source", "target"):
            spread = getattr(paper, f"{field}_spread")
            assert row[f"{field}_paper_deviation"] == ("" if spread is None else str(spread))
        assert int(row["seeds"]) == len(plans) >= 3
        of = [(plan.settings.seed, plan.settings.steps) for plan in plans]
        source = [source_accuracy(recipe, paper.run, seed, last) for seed, last in of]
        plain = [source_accuracy(recipe, "LoRA", seed, last) for seed, last in of]
        learned = [accuracy(paper.run, seed, target, last) for seed, last in of]
        assert (float(row["source"]), float(row["source_deviation"])) == pytest.approx((fmean(source), stdev(source)))
        assert (float(row["target"]), float(row["target_deviation"])) == pytest.approx((fmean(learned), stdev(learned)))
        assert float(row["kept"]) == pytest.approx(fmean(source) - fmean(plain))
        assert float(row["source_more"]) == pytest.approx(fmean(source) - paper.source_accuracy)


def test_it_fits_the_terminal() -> None:
    console = Console(width=100, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(printed(PublishedPanel(found(synthetic("paper/table-1"))).tables()[0]))
    assert max(map(len, capture.get().splitlines())) <= 100
    assert "…" not in capture.get()
