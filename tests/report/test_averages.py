"""No panel averages over a setting that it does not name."""

from __future__ import annotations

from typing import Any

import pytest

from lalora.errors import LaloraError
from lalora.report import Findings
from lalora.report.drawing import drawn
from lalora.report.panels.heatmaps import HeatmapsPanel
from lalora.report.panels.order import PANELS
from lalora.report.panels.panel import Panel
from lalora.results import parse
from synthetic_study import synthetic

# Each run for itself, or a map that names the setting; a selection is refused when it is made.
WITHOUT_SUCH_MEANS = {
    "results",
    "prediction",
    "calibration",
    "changes",
    "reproduce",
    "selection",
    "heatmaps",
    "budgets",
}
# Plain LoRA varies in nothing in this study, so that these have nothing to show.
WITHOUT_SUCH_MEANS |= {"by-value", "by-method"}


@pytest.fixture
def mixed() -> dict[str, Any]:
    """A study in which seed 1 of one label was run at another rank than seed 0, with something for every mean."""
    content = synthetic("small/batches", "timed_steps=2", "evaluate_at=[30, 60]", "after={regmean: [1]}")
    label = "LaLoRA λ=1000 source_rows=4"
    first, second, _ = (run for run in content["runs"] if run["label"] == label)
    assert first["costs"]
    second["settings"]["rank"] = first["settings"]["rank"] // 2
    chosen = {"settings": [{"label": label}], "stability": label, "plasticity": label}
    content["selection"] = {"methods": [{"method": "lalora", "knob": "strength", **chosen}]}
    content["published"] = [{"run": label, "source_accuracy": 0.5, "target_accuracy": 0.5}]
    return content


def shown(panel: type[Panel], content: dict[str, Any]) -> None:
    made = panel(Findings(parse(content)))
    made.tables()
    made.plots()
    made.figure()


@pytest.mark.parametrize("panel", [one for one in PANELS if one.name not in WITHOUT_SUCH_MEANS])
def test_a_panel_refuses_runs_of_one_label_and_several_settings(panel: type[Panel], mixed: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match=r"seed-0 and .*seed-1 cannot be averaged: they differ in rank \(16 and 8\)"):
        shown(panel, mixed)


def test_no_report_is_drawn_of_such_runs(mixed: dict[str, Any]) -> None:
    with pytest.raises(LaloraError, match="differ in rank"):
        drawn(Findings(parse(mixed)))


def test_a_map_keeps_the_other_rank_to_itself(mixed: dict[str, Any]) -> None:
    maps = HeatmapsPanel(Findings(parse(mixed))).maps
    # One run at the other rank is no grid; the cell that it left has the two other seeds.
    assert {one.heading for one in maps} == {"LaLoRA, rank = 16"}
    assert {one.cells for one in maps} == {"mean over 2 to 3 seeds"}
