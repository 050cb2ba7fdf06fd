"""Costs of parts: means over seeds, shares of a step, the publication's numbers beside."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from lalora.report.panels.costs import COLUMNS, CostsPanel, by_setting
from lalora.report.tables import files_of
from lalora.report.terminal import printed
from lalora.results import parse
from made_up_study import found, page

STEP = {"forward": 0.5, "backward": 0.4, "method": 0.02, "optimizer": 0.08}


def run(method: str, label: str, seed: int, factor: float, first: str) -> dict[str, Any]:
    parts = {first: 3.0, **STEP}
    costs = [
        {"part": part, "seconds": factor * seconds, "allocated": int(factor * 2e9), "reserved": None}
        for part, seconds in parts.items()
    ]
    return {"name": f"{method}-{seed}", "method": method, "label": label, "seed": seed, "costs": costs}


@pytest.fixture
def results() -> dict[str, Any]:
    runs = [
        run("lora", "LoRA", 0, 1.0, "ready"),
        run("lalora", "LaLoRA λ=1", 0, 1.0, "fit winogrande"),
        run("lalora", "LaLoRA λ=1", 1, 3.0, "fit winogrande"),
    ]
    paper = [
        {"run": "LaLoRA λ=1", "part": "fit winogrande", "seconds": 0.693, "allocated": 6.05, "reserved": 8.04},
        {"run": "LaLoRA λ=1", "part": "method", "order": "time r·D"},
    ]
    return {"format": 1, "name": "cost", "base": {}, "runs": runs, "published_costs": paper}


def test_seeds_are_averaged_and_the_paper_stands_beside(results: dict[str, Any]) -> None:
    parts = by_setting(parse(results))
    assert list(parts) == ["LoRA", "LaLoRA λ=1"]
    fit, forward, _, method, _ = ([column.text(part) for column in COLUMNS[1:]] for part in parts["LaLoRA λ=1"])
    assert fit == ["6.00", "–", "0.69", "4.00", "6.05", "–", "8.04", "–"]
    assert forward[:4] == ["1.00", "50.0%", "–", "4.00"]
    assert method == ["0.04", "2.0%", "–", "4.00", "–", "–", "–", "time r·D"]


def test_the_files_and_the_page_show_it(results: dict[str, Any]) -> None:
    (table,) = CostsPanel(found(results)).tables()
    files = files_of(table)
    rows = list(csv.DictReader(files["costs.csv"].decode().splitlines()))
    assert [row["part"] for row in rows[:5]] == ["ready", *STEP]
    assert float(rows[6]["seconds"]) == pytest.approx(1.0)
    assert "| LaLoRA λ=1 | fit winogrande | 6.00 | – | 0.69 |" in files["costs.md"].decode()
    assert r"LaLoRA $\lambda$=1 & forward" in files["costs.tex"].decode()
    text = page(results)
    assert "What it costs" in text
    assert 'data-label="Order, paper">time r·D<' in text
    assert len(printed(table).columns) == 6


def test_without_timed_steps_there_is_nothing_to_see(results: dict[str, Any]) -> None:
    for one in results["runs"]:
        one["costs"] = []
    assert by_setting(parse(results)) == {}
    assert CostsPanel(found(results)).tables() == []
    assert "What it costs" not in page(results)
