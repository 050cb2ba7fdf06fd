"""What the picture of the curves draws."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.axes import Axes

from lalora.report.panels.curves import CurvesPanel
from lalora.report.series import ACCURACIES, CURVES, curves, points
from lalora.results import parse
from made_up_study import found


def test_accuracies_have_panels_where_runs_measured_them_on_their_way(results: dict[str, Any]) -> None:
    assert curves(parse(results)) == list(CURVES)  # only at start and end
    results["runs"][1]["curve"][2]["source_accuracy"] = 0.25
    study = parse(results)
    assert curves(study) == [*CURVES, ACCURACIES[0]]
    assert points(study.runs[1], ACCURACIES[0])[1] == (20.0, 25.0)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    drawn: list[str] = []
    set_title = Axes.set_title

    def watched(self: Axes, text: str, *args: Any, **style: Any) -> Any:
        drawn.append(text)
        return set_title(self, text, *args, **style)

    monkeypatch.setattr(Axes, "set_title", watched)
    return drawn


def test_the_picture_grows_by_two_panels(results: dict[str, Any], seeded: dict[str, Any], titles: list[str]) -> None:
    CurvesPanel(found(seeded)).figure()
    assert titles == [curve.title for curve in (*CURVES, *ACCURACIES)]


def test_seeds_are_a_line_with_a_band(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    template = results["runs"][0]
    runs = [
        {**template, "seed": seed, "train": [], "final": None, "curve": [{"step": 0, "source_kl": 0.0}, row]}
        for seed, row in enumerate(({"step": 10, "source_kl": 0.1}, {"step": 10, "source_kl": 0.4}))
    ]
    bands, lines = [], []
    monkeypatch.setattr(Axes, "fill_between", lambda _, *args, **style: bands.append(args))
    monkeypatch.setattr(Axes, "plot", lambda _, xs, ys, *args, **style: lines.append((xs, ys)))
    CurvesPanel(found({**results, "runs": runs})).figure()
    ((steps, lows, highs),) = bands
    assert steps == [0.0, 10.0]
    assert lows == pytest.approx([0.0, 0.25 - 0.15 * 2**0.5])
    assert highs == pytest.approx([0.0, 0.25 + 0.15 * 2**0.5])
    assert lines == [([0.0, 10.0], [0.0, 0.25])]
