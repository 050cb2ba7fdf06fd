"""The curves of each data set by itself, against the numbers that the study was made of."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

import pytest

from drawn_lines import lines_of, plots
from lalora.report import Findings
from lalora.report.panels.by_data_set import ByDataSetPanel
from lalora.results import parse
from made_up_study import found
from synthetic_study import accuracy, kl, loss, synthetic

SEEDS = (42, 43, 44)


@pytest.fixture(scope="module")
def paper() -> ByDataSetPanel:
    return ByDataSetPanel(Findings(parse(synthetic("paper/per-dataset"))))


@pytest.fixture(scope="module")
def small() -> ByDataSetPanel:
    return ByDataSetPanel(Findings(parse(synthetic("small/per-dataset"))))


def labels(panel: ByDataSetPanel) -> list[str]:
    return [seeds.label for seeds in panel.findings.seeds]


def test_accuracies_by_source_and_of_the_target_in_percent(paper: ByDataSetPanel) -> None:
    titles = [curve.title for curve in paper.curves]
    assert titles == ["winogrande", "arc_challenge", "hellaswag", "gsm8k (target)"]
    assert {curve.key for curve in paper.curves} == {"accuracy"}
    place = labels(paper).index("LaLoRA λ=2000")
    for curve, data in zip(paper.curves, ("winogrande", "arc_challenge", "hellaswag", "gsm8k"), strict=True):
        line = paper.bands[curve][place]
        assert [step for step, _ in line] == [0, 1450, 2900, 4350]
        for step, at in line:
            seeds = [100 * accuracy("LaLoRA λ=2000", seed, data, int(step)) for seed in SEEDS]
            assert (at.mean, at.low, at.high) == pytest.approx(
                (fmean(seeds), fmean(seeds) - stdev(seeds), fmean(seeds) + stdev(seeds))
            )


def test_without_accuracies_kl_of_sources_and_held_out_text_and_loss_of_the_target(small: ByDataSetPanel) -> None:
    told = [(curve.title, curve.key) for curve in small.curves]
    assert told == [
        ("winogrande", "kl"),
        ("arc_challenge", "kl"),
        ("hellaswag", "kl"),
        ("lambada (held out)", "kl"),
        ("gsm8k (target)", "loss"),
    ]
    place = labels(small).index("LaLoRA λ=10000")
    for number, data, of in ((2, "hellaswag", kl), (3, "lambada", kl), (4, "gsm8k", loss)):
        step, at = small.bands[small.curves[number]][place][3]
        seeds = [of("LaLoRA λ=10000", seed, data, 90) for seed in (0, 1, 2)]
        assert (step, at.mean, at.deviation) == (90, pytest.approx(fmean(seeds)), pytest.approx(stdev(seeds)))


def test_the_picture_draws_these_lines_and_bands(paper: ByDataSetPanel) -> None:
    figure = paper.figure()
    assert figure is not None
    assert [axes.get_title() for axes in plots(figure)] == [curve.title for curve in paper.curves]
    hellaswag = lines_of(plots(figure)[2])[labels(paper).index("LaLoRA λ=2000")]
    assert hellaswag.xs == [0, 1450, 2900, 4350]
    assert hellaswag.lows is not None and hellaswag.highs is not None
    seeds = [100 * accuracy("LaLoRA λ=2000", seed, "hellaswag", 2900) for seed in SEEDS]
    drawn = (hellaswag.ys[2], hellaswag.lows[2], hellaswag.highs[2])
    assert drawn == pytest.approx((fmean(seeds), fmean(seeds) - stdev(seeds), fmean(seeds) + stdev(seeds)))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["LoRA", "LaLoRA λ=2000"]


def test_with_one_source_the_plain_curves_say_the_same() -> None:
    content = synthetic("small/per-dataset", "sources={winogrande: embedded}")
    assert ByDataSetPanel(Findings(parse(content))).is_empty
    content["recipe"]["base"]["held_out"]["pile"] = "embedded"
    for row in (row for run in content["runs"] for row in run["curve"]):
        row["kl"]["pile"] = 0.1
    panel = ByDataSetPanel(Findings(parse(content)))
    assert [curve.title for curve in panel.curves][:3] == ["winogrande", "lambada (held out)", "pile (held out)"]


def test_start_and_end_alone_are_no_curves(results: dict[str, Any]) -> None:
    assert not ByDataSetPanel(found(results)).is_empty
    for run in results["runs"]:
        run["curve"] = run["curve"][::6]
    panel = ByDataSetPanel(found(results))
    assert panel.is_empty
    assert panel.figure() is None


def test_a_data_set_that_one_run_alone_measured_is_drawn(results: dict[str, Any]) -> None:
    for row in results["runs"][1]["curve"]:
        row["kl"]["pile"] = row["step"] / 100
    panel = ByDataSetPanel(found(results))
    (pile,) = (curve for curve in panel.curves if curve.title == "pile")
    assert [[step for step, _ in line] for line in panel.bands[pile]] == [[], [0, 10, 20, 30, 40, 50, 60], []]
    assert panel.bands[pile][1][3][1].mean == pytest.approx(0.3)


def test_a_dollar_in_a_name_begins_no_formula(results: dict[str, Any]) -> None:
    for run in results["runs"]:
        for row in run["curve"]:
            row["kl"]["$x_{$"] = 0.1
    figure = ByDataSetPanel(found(results)).figure()
    assert figure is not None
    figure.canvas.draw()  # a formula that is none would be refused here
