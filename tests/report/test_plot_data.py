"""What the page's plots get, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.report.page import plot_data
from lalora.report.panels.order import PANELS
from lalora.report.settings import telling
from lalora.results import parse
from made_up_study import found


def plotted(results: dict[str, Any]) -> dict[str, Any]:
    findings = found(results)
    return plot_data(findings, [panel(findings) for panel in PANELS])


def test_a_label_stands_once_with_mean_and_deviation(seeded: dict[str, Any]) -> None:
    for seed, kl in enumerate((0.1, 0.2, 0.6)):
        seeded["runs"][seed]["final"]["source_kl"] = kl
    data = plotted(seeded)
    plain = data["labels"][0]
    assert (plain["label"], plain["runs"]) == ("LoRA", (0, 1, 2))
    assert plain["path"][-1]["source_kl"] == pytest.approx([0.3, 0.3 - 0.07**0.5, 0.3 + 0.07**0.5])
    curves = {panel["title"]: panel["curves"][0] for panel in data["panels"]}
    assert curves["Drift on source text"][-1] == pytest.approx([60, 0.3, 0.3 - 0.07**0.5, 0.3 + 0.07**0.5])
    assert curves["Source accuracy"][0] == pytest.approx([0, 60, 60, 60])
    assert len(data["labels"]) == 10


def test_each_seed_is_smoothed_before_the_mean(seeded: dict[str, Any]) -> None:
    # 60 steps: a moving mean over 7 of them.
    for seed, run in enumerate(seeded["runs"][:3]):
        run["train"] = [{"step": step, "loss": 7.0 * seed if step == 30 else 0.0} for step in range(1, 61)]
    smooth = plotted(seeded)["panels"][0]["smooth"][0]
    assert smooth[28] == pytest.approx([29, 1.0, 0.0, 2.0])


def test_settings_that_tell_a_run_from_others_of_its_method(seeded: dict[str, Any]) -> None:
    study = parse(seeded)
    assert telling(study, study.runs[0]) == {"learning_rate": "0.002"}
    assert telling(study, study.runs[3]) == {"strength": "1", "source_rows": "4", "source_batch_size": "4"}
    assert telling(study, study.runs[-9]) == {"strength": "5", "source_domains": "winogrande"}
