"""What the page's plots get, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.report.plot_data import plot_data, telling
from lalora.report.schema import parse


def test_a_label_stands_once_with_mean_and_range(seeded: dict[str, Any]) -> None:
    for seed, kl in enumerate((0.1, 0.2, 0.6)):
        seeded["runs"][seed]["final"]["source_kl"] = kl
    data = plot_data(parse(seeded))
    plain = data["labels"][0]
    assert (plain["label"], plain["runs"]) == ("LoRA", (0, 1, 2))
    assert plain["path"][-1]["source_kl"] == pytest.approx([0.3, 0.1, 0.6])
    assert plain["curves"]["source_kl"][-1] == pytest.approx([60, 0.3, 0.1, 0.6])
    assert plain["curves"]["source_accuracy"][0] == pytest.approx([0, 60, 60, 60])
    assert len(data["labels"]) == 10


def test_each_seed_is_smoothed_before_the_mean(seeded: dict[str, Any]) -> None:
    # 60 steps: a moving mean over 7 of them.
    for seed, run in enumerate(seeded["runs"][:3]):
        run["train"] = [{"step": step, "loss": 7.0 * seed if step == 30 else 0.0} for step in range(1, 61)]
    smooth = plot_data(parse(seeded))["labels"][0]["smooth"]["loss"]
    assert smooth[28] == pytest.approx([29, 1.0, 0.0, 2.0])


def test_settings_that_tell_a_run_from_others_of_its_method(seeded: dict[str, Any]) -> None:
    study = parse(seeded)
    assert telling(study, study.runs[0]) == {"learning_rate": "0.002"}
    assert telling(study, study.runs[3]) == {"strength": "1", "source_rows": "4", "source_batch_size": "4"}
    assert telling(study, study.runs[-9]) == {"strength": "5", "source_domains": "winogrande"}
