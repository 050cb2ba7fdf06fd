"""The table of validation rows, against numbers computed by hand."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from lalora.report import Findings
from lalora.report.panels.validation import ValidationPanel, validated
from lalora.results import Results, parse
from lalora.results.scores import score
from lalora.results.select import selection_of
from lalora.study import load_recipe
from synthetic_study import accuracy, loss, source_accuracy, synthetic


def study(name: str) -> Results:
    results = parse(synthetic(name))
    return results.model_copy(update={"selection": selection_of(results)})


def test_table_2_needs_no_selection() -> None:
    found = Findings(study("paper/table-2"))
    assert found.results.selection is None
    rows = validated(found)
    assert [row.target_paper for row in rows] == [0.211, 0.247, 0.221]
    for row in rows:
        measured = [accuracy(row.label, seed, "gsm8k", 10000, "validation") for seed in (42, 43, 44)]
        assert row.target_accuracy is not None
        assert row.target_accuracy.mean == pytest.approx(fmean(measured))
        assert row.target_accuracy.deviation == pytest.approx(stdev(measured))
    (table,) = ValidationPanel(found).tables()
    titles = [column.title for column in table.columns]
    assert "Target, paper, %" in titles
    assert "S_B" not in titles
    assert table.columns[titles.index("Target, paper, %")].text(rows[1]) == "24.7"


@pytest.mark.parametrize(
    ("name", "column"),
    [("table-4", (0.618, 0.250, 0.44)), ("math", (0.591, 0.088, 0.61)), ("llama-3.1-8b", (0.619, 0.370, 0.50))],
)
def test_tables_4_6_and_7_have_f_and_l_and_the_score_of_no_penalty(
    name: str, column: tuple[float, float, float]
) -> None:
    recipe, rows = load_recipe(f"paper/{name}"), {row.label: row for row in validated(Findings(study(f"paper/{name}")))}
    plain = rows["LoRA"]
    assert (plain.source_paper, plain.target_paper, plain.score_paper) == column
    (target,), last = recipe.study.target, recipe.runs[0].settings.steps
    seeds = sorted({plan.settings.seed for plan in recipe.runs})
    diagonal = ["LoRA", *dict.fromkeys(plan.label for plan in recipe.runs if plan.label.startswith("LaLoRA λ"))]
    learning = [fmean(accuracy(label, seed, target, last, "validation") for seed in seeds) for label in diagonal]
    keeping = [fmean(source_accuracy(recipe, label, seed, last, "validation") for seed in seeds) for label in diagonal]
    by_hand = score(learning, keeping)
    assert [rows[label].score for label in diagonal] == pytest.approx(by_hand)
    # The printed numbers of a whole row of the table give its printed scores.
    printed = [(rows[label].target_paper or 0.0, rows[label].source_paper or 0.0) for label in diagonal]
    assert score(*zip(*printed, strict=True))[0] == pytest.approx(column[2], abs=0.01)


def test_losses_where_no_accuracy_was_measured() -> None:
    found = Findings(study("small/table-1"))
    (table,) = ValidationPanel(found).tables()
    assert [column.short for column in table.columns if column.short] == [
        "setting",
        "n",
        "KL\nsource",
        "target\nloss",
        "S_B",
    ]
    row = next(row for row in validated(found) if row.label == "MiLoRA")
    assert row.target_loss is not None
    measured = [loss("MiLoRA", seed, "gsm8k", 120, "validation") for seed in (0, 1, 2)]
    assert row.target_loss.mean == pytest.approx(fmean(measured))


def test_nothing_without_validation_rows() -> None:
    assert ValidationPanel(Findings(parse(synthetic("quickstart")))).tables() == []
