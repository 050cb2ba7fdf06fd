"""Tables for other programs: the same numbers in each."""

from __future__ import annotations

import csv
import io
from typing import Any

from lalora.report.panels.results import ResultsPanel
from lalora.report.tables import files_of
from made_up_study import found


def tables(results: dict[str, Any]) -> dict[str, bytes]:
    return files_of(ResultsPanel(found(results)).tables()[0])


def test_csv_holds_every_number_in_full(results: dict[str, Any]) -> None:
    base, plain, *_ = csv.DictReader(io.StringIO(tables(results)["results.csv"].decode()))
    assert base["label"] == "Base model"
    assert plain["name"] == "lora-seed-0"
    assert float(plain["target_loss"]) == results["runs"][0]["final"]["target_loss"]
    assert plain["forgetting_removed"] == ""


def test_markdown_and_latex_hold_what_was_measured(results: dict[str, Any]) -> None:
    for run in [results["base"], *(run["final"] for run in results["runs"])]:
        del run["source_accuracy"]
    files = tables(results)
    head, rule, base, plain, strong, _ = files["results.md"].decode().splitlines()
    assert head.startswith("| Run | Target loss | Source loss | Rise | KL source |")
    assert "Source accuracy" not in head
    assert rule.count("---") == head.count("|") - 1
    assert plain.startswith("| LoRA | 0.")
    assert "60%" in strong or "61%" in strong
    assert base.count("|") == head.count("|")
    latex = files["results.tex"].decode()
    assert r"LaLoRA $\lambda$=10 & " in latex
    assert r"\%" in latex
    assert r"\toprule" in latex
    latex.encode("latin-1", "strict")
