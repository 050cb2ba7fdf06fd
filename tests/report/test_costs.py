"""Costs of parts: means over seeds, shares of a step, the publication's numbers beside."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from lalora.report.panels.costs import COLUMNS, CostsPanel, Part, by_setting
from lalora.report.tables import files_of
from lalora.report.terminal import printed
from lalora.results import parse
from made_up_study import found, page
from synthetic_study import cost, synthetic

STEP = {"forward": 0.5, "method": 0.02, "backward": 0.4, "optimizer": 0.08}


FIELDS = [column.field for column in COLUMNS[1:]]


def cells(part: Part) -> list[str]:
    return [column.text(part) for column in COLUMNS[1:]]


def run(method: str, label: str, seed: int, factor: float, first: str) -> dict[str, Any]:
    parts = {first: 3.0, **STEP}
    costs = [
        {
            "part": part,
            "seconds": factor * seconds,
            "allocated": int(factor * 2**31),
            "peak": int(factor * 2**32),
            "reserved": None,
        }
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
    fit, forward, method, _, _ = (cells(part) for part in parts["LaLoRA λ=1"])
    # Two seeds, of 2 GiB and of 6 GiB.
    assert fit == ["6.00", "–", "0.69", "4.00", "6.05", "8.00", "–", "8.04", "–"]
    assert forward[:4] == ["1.00", "50.0%", "–", "4.00"]
    assert method == ["0.04", "2.0%", "–", "4.00", "–", "8.00", "–", "–", "time r·D"]


def test_what_was_published_and_not_measured_is_shown_with_dashes(results: dict[str, Any]) -> None:
    results["published_costs"] += [
        {"run": "LaLoRA λ=1", "part": "mode", "order": "time r"},
        {"run": "Never run", "part": "backward", "seconds": 2.0, "allocated": 1.5},
    ]
    parts = by_setting(parse(results))
    assert [part.part for part in parts["LaLoRA λ=1"]] == ["fit winogrande", "mode", *STEP]
    assert cells(parts["LaLoRA λ=1"][1]) == ["–"] * 8 + ["time r"]
    (never,) = parts["Never run"]
    assert cells(never) == ["–", "–", "2.00", "–", "1.50", "–", "–", "–", "–"]


def test_results_from_before_there_was_a_peak_held_it_as_allocated(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        for one in run["costs"]:
            del one["peak"]
    fit = by_setting(parse(results))["LaLoRA λ=1"][0]
    assert (fit.allocated, fit.peak) == (None, 2**32)


def test_the_papers_tables_stand_beside_measured_numbers_in_the_same_unit() -> None:
    parts = by_setting(parse(synthetic("paper/cost")))
    label = "LaLoRA λ=1 fisher=batch combine=sum"
    rows = {part.part: dict(zip(FIELDS, cells(part), strict=True)) for part in parts[label]}
    sources = ("winogrande", "arc_challenge", "hellaswag")
    assert list(rows) == [*(f"fit {name}" for name in sources), "mode", "ready", *STEP]
    # Tables 12 and 13 as printed.
    printed = {
        "fit winogrande": ("0.69", "6.05", "8.04"),
        "fit arc_challenge": ("0.84", "6.09", "12.57"),
        "fit hellaswag": ("0.83", "6.12", "12.64"),
        "forward": ("0.31", "28.44", "36.04"),
        "method": ("0.006", "28.48", "36.04"),
        "backward": ("0.44", "8.75", "37.51"),
        "optimizer": ("0.058", "8.74", "37.51"),
    }
    for name, numbers in printed.items():
        row = rows[name]
        assert (row["paper_seconds"], row["paper_allocated"], row["paper_reserved"]) == numbers
        for key in ("allocated", "peak", "reserved"):
            assert row[key] == f"{cost(label, name, key) / 2**30:.2f}"
    # Of Table 14 and 15 something for every method, and no measured number where nothing was measured.
    orders = {
        (setting, part.part): part.paper_order for setting, of in parts.items() for part in of if part.paper_order
    }
    assert len(orders) == 21
    assert rows["mode"]["seconds"] == "–"
    assert orders["LoRA", "training"] == "time N_train·B_train·(D_in + D_out)·r, memory (D_in + D_out)·r"
    assert orders["LaLoRA kfac λ=1", "method"].endswith("memory D_in² + D_out²")
    assert orders["LaLoRA tri-kfac λ=1", "method"].endswith("memory D_in² + D_out² + r²")
    assert ("L2 λ=1", "forward") in orders


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
