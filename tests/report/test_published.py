"""Published numbers beside measured ones, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.report.panels.published import COLUMNS, Beside, PublishedPanel, beside
from lalora.results import parse
from made_up_study import found, page


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
    plain, lalora = beside(parse(study(results)))
    assert cells(plain)[:10] == ["60.9%", "60.0%", "−0.9", "24.8%", "25.0%", "+0.2", "0.0", "0.0", "0.0", "0.0"]
    assert cells(lalora)[:10] == ["63.5%", "66.0%", "+2.5", "25.3%", "20.0%", "−5.3", "+2.6", "+6.0", "+0.5", "−5.0"]
    assert cells(lalora)[10:] == ["−1.0", "+15.0"]


def test_seeds_are_averaged_and_what_was_not_measured_is_missing(results: dict[str, Any]) -> None:
    study(results)
    twin = {**results["runs"][2], "name": "twin", "seed": 1, "final": {**results["runs"][2]["final"]}}
    twin["final"]["source_accuracy"] = 0.70
    del results["runs"][0]["final"]["source_accuracy"]
    plain, lalora = beside(parse({**results, "runs": [*results["runs"], twin]}))
    assert (lalora.source_paper, lalora.source) == pytest.approx((0.635, 0.68))
    assert lalora.kept is None
    assert cells(plain)[1] == "–"


def test_it_stands_in_terminal_and_page(results: dict[str, Any]) -> None:
    assert PublishedPanel(found(results)).tables() == []
    assert "Published and measured" not in page(results)
    (table,) = PublishedPanel(found(study(results))).tables()
    assert len(table.rows) == 2
    assert "Published and measured" in page(results)
