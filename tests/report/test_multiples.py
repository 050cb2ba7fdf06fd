"""Curves where one setting varies in all methods, against the numbers that the study was made of."""

from __future__ import annotations

from copy import deepcopy
from statistics import fmean, stdev
from typing import Any

import pytest

from drawn_lines import lines_of, plots
from lalora.report import Findings
from lalora.report.multiples import Multiples, Variant, multiples
from lalora.report.panels.multiples import ByMethodPanel, ByValuePanel
from lalora.report.series import ACCURACIES, Band
from lalora.results import parse
from lalora.study import load_recipe
from synthetic_study import accuracy, kl, loss, source_accuracy, synthetic

SEEDS = (42, 43, 44)
RANKS = ("rank=1 alpha=2", "rank=4 alpha=8", "rank=16 alpha=32", "rank=64 alpha=128")
STEPS = (1450, 2900, 4350)


@pytest.fixture(scope="module")
def rank() -> Findings:
    return Findings(parse(synthetic("paper/rank")))


@pytest.fixture(scope="module")
def length() -> Findings:
    return Findings(parse(synthetic("paper/training-length")))


def of(findings: Findings) -> Multiples:
    found = multiples(findings)
    assert found is not None
    return found


def named(found: Multiples, name: str) -> Variant:
    (variant,) = (one for one in found.variants if one.name == name)
    return variant


def numbers(line: Band) -> list[tuple[float, float, float | None]]:
    return [(step, at.mean, at.deviation) for step, at in line]


def target_accuracies(label: str, steps: tuple[int, ...]) -> list[Any]:
    seeds = [[100 * accuracy(label, seed, "gsm8k", step) for seed in SEEDS] for step in steps]
    return [pytest.approx((step, fmean(at), stdev(at))) for step, at in zip(steps, seeds, strict=True)]


def source_accuracies(name: str, label: str, steps: tuple[int, ...]) -> list[Any]:
    recipe = load_recipe(name)
    seeds = [[100 * source_accuracy(recipe, label, seed, step) for seed in SEEDS] for step in steps]
    return [pytest.approx((step, fmean(at), stdev(at))) for step, at in zip(steps, seeds, strict=True)]


def test_ranks_with_what_follows_them_and_methods_with_their_strengths(rank: Findings) -> None:
    found = of(rank)
    assert found.setting == "rank"
    assert [" ".join([value.text, *value.following]) for value in found.values] == list(RANKS)
    assert [one.name for one in found.variants] == ["LoRA", "LaLoRA λ=20", "LaLoRA λ=2000", "LaLoRA λ=2e+06"]
    assert found.curves == ACCURACIES


def test_the_lines_of_a_method_are_those_of_the_ranks_in_their_order(rank: Findings) -> None:
    found = of(rank)
    forgetting, learning = found.curves
    steps = (0, 1450, 2900, 4350)
    lines = found.of(named(found, "LaLoRA λ=20"), learning)
    assert [value for value, _ in lines] == [0, 1, 2, 3]
    for words, (_, line) in zip(RANKS, lines, strict=True):
        assert numbers(line) == target_accuracies(f"LaLoRA λ=20 {words}", steps)
    for words, (_, line) in zip(RANKS, found.of(named(found, "LoRA"), forgetting), strict=True):
        assert numbers(line) == source_accuracies("paper/rank", f"LoRA {words}", steps)


def test_a_column_of_a_length_has_every_method_as_far_as_it_went(length: Findings) -> None:
    found = of(length)
    assert (found.setting, [value.text for value in found.values]) == (
        "steps",
        ["steps=1450", "steps=2900", "steps=4350"],
    )
    for place, last in enumerate(STEPS):
        steps = tuple(range(0, last + 1, 290))
        lines = {variant.name: line for variant, line in found.at(place, found.curves[1])}
        assert list(lines) == ["LoRA", "LaLoRA λ=20", "LaLoRA λ=2000", "LaLoRA λ=2e+06"]
        for name, line in lines.items():
            assert numbers(line) == target_accuracies(f"{name} steps={last}", steps)


def test_without_accuracies_kl_and_target_loss() -> None:
    found = of(Findings(parse(synthetic("small/rank"))))
    forgetting, learning = found.curves
    assert (forgetting.key, learning.key) == ("source_kl", "target_loss")
    label, sources = "LaLoRA λ=1000 rank=4 alpha=8", ("winogrande", "arc_challenge", "hellaswag")
    for curve, seeds in (
        (forgetting, [fmean(kl(label, seed, name, 60) for name in sources) for seed in (0, 1, 2)]),
        (learning, [loss(label, seed, "gsm8k", 60) for seed in (0, 1, 2)]),
    ):
        _, line = found.of(named(found, "LaLoRA λ=1000"), curve)[1]
        assert numbers(line)[2] == pytest.approx((60, fmean(seeds), stdev(seeds)))
    lengths = of(Findings(parse(synthetic("small/training-length"))))
    shortest = lengths.at(0, lengths.curves[0])[0][1]
    assert [step for step, _ in shortest] == [0, 20, 40]


def test_any_setting_that_plain_lora_varies_in() -> None:
    grid = (
        "[{method: lora, learning_rate: [1e-3, 5e-4]}, {method: l2, strength: [0.1, 1], learning_rate: [5e-4, 1e-3]}]"
    )
    found = of(Findings(parse(synthetic("small/per-dataset", f"grid={grid}"))))
    assert [value.text for value in found.values] == ["learning_rate=0.0005", "learning_rate=0.001"]
    assert [one.name for one in found.variants] == ["LoRA", "L2 λ=0.1", "L2 λ=1"]
    at = {variant.name: line for variant, line in found.at(1, found.curves[1])}
    seeds = [loss("L2 λ=1 learning_rate=0.001", seed, "gsm8k", 30) for seed in (0, 1, 2)]
    assert numbers(at["L2 λ=1"])[1] == pytest.approx((30, fmean(seeds), stdev(seeds)))
    assert numbers(at["LoRA"])[1][1] == pytest.approx(
        fmean(loss("LoRA learning_rate=0.001", seed, "gsm8k", 30) for seed in (0, 1, 2))
    )


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ("[{method: lora}, {method: lalora, strength: [1, 2], rank: [4, 8]}]", "plain LoRA does not vary"),
        ("[{method: lora, rank: [4, 8]}, {method: lalora, strength: [1, 2]}]", "no other method varies in it"),
        (
            "[{method: lora, rank: [4, 8], steps: [60, 90]}, {method: l2, rank: [4, 8], steps: [60, 90]}]",
            "two settings",
        ),
    ],
)
def test_nothing_where_there_is_nothing_to_compare(grid: str, why: str) -> None:
    assert multiples(Findings(parse(synthetic("small/per-dataset", f"grid={grid}")))) is None, why


def test_labels_that_only_their_name_tells_apart_are_never_averaged(rank: Findings) -> None:
    content = synthetic("small/rank")
    twins = [deepcopy(run) for run in content["runs"] if run["label"] == "LoRA rank=4 alpha=8"]
    for run in twins:
        run["label"] = "LoRA alpha=8 rank=4"
    content["runs"] += twins
    assert multiples(Findings(parse(content))) is None


def test_another_setting_keeps_lines_apart() -> None:
    # alpha follows the rank in plain LoRA, and in LaLoRA only where it is not 16.
    grid = (
        "[{method: lora, rank: 4, alpha: 8}, {method: lora, rank: 16, alpha: 32}, "
        "{method: lalora, strength: 1, rank: 4, alpha: [8, 16]}, "
        "{method: lalora, strength: 1, rank: 16, alpha: [32, 16]}]"
    )
    found = of(Findings(parse(synthetic("small/per-dataset", f"grid={grid}"))))
    assert [one.name for one in found.variants] == ["LoRA", "LaLoRA λ=1", "LaLoRA λ=1 alpha=16"]
    # The title of a column promises no alpha that one of its lines does not have.
    assert [(value.text, value.following) for value in found.values] == [("rank=4", ()), ("rank=16", ())]
    for place, words in enumerate(("rank=4 alpha=16", "rank=16 alpha=16")):
        _, line = found.at(place, found.curves[1])[2]
        assert numbers(line)[1][1] == pytest.approx(
            fmean(loss(f"LaLoRA λ=1 {words}", seed, "gsm8k", 30) for seed in (0, 1, 2))
        )


def test_a_line_looks_the_same_in_every_column_and_has_the_colour_of_its_method(rank: Findings) -> None:
    found = of(rank)
    looks = [one.look for one in found.variants]
    assert len({(look.light, look.dash) for look in looks}) == 4
    assert len({one.hue for one in found.variants[1:]}) == 1
    assert found.variants[0].hue != found.variants[1].hue == looks[-1].light


def test_the_picture_by_value_draws_these_numbers(length: Findings) -> None:
    figure = ByValuePanel(length).figure()
    assert figure is not None
    axes = plots(figure)
    assert [one.get_title() for one in axes[:3]] == ["steps=1450", "steps=2900", "steps=4350"]
    assert len({one.get_ylim() for one in axes[:3]}) == len({one.get_ylim() for one in axes[3:]}) == 1
    for place, expected in (
        (1, source_accuracies("paper/training-length", "LaLoRA λ=2000 steps=2900", tuple(range(0, 2901, 290)))),
        (4, target_accuracies("LaLoRA λ=2000 steps=2900", tuple(range(0, 2901, 290)))),
    ):
        line = lines_of(axes[place])[2]
        assert line.lows is not None
        drawn = zip(line.xs, line.ys, [y - low for y, low in zip(line.ys, line.lows, strict=True)], strict=True)
        assert list(drawn) == expected
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [one.name for one in of(length).variants]


def test_the_picture_by_method_draws_all_ranks_and_bands_of_the_outer_ones(rank: Findings) -> None:
    figure = ByMethodPanel(rank).figure()
    assert figure is not None
    axes = plots(figure)
    assert [one.get_title() for one in axes[::2]] == [one.name for one in of(rank).variants]
    assert len({one.get_ylim() for one in axes[::2]}) == len({one.get_ylim() for one in axes[1::2]}) == 1
    # The right plot of the second row: what LaLoRA learned with λ = 20.
    lines = lines_of(axes[3])
    for words, line in zip(RANKS, lines, strict=True):
        expected = target_accuracies(f"LaLoRA λ=20 {words}", (0, 1450, 2900, 4350))
        lows = line.lows or line.ys
        drawn = list(zip(line.xs, line.ys, (y - low for y, low in zip(line.ys, lows, strict=True)), strict=True))
        assert [one[:2] for one in drawn] == [pytest.approx(one.expected[:2]) for one in expected]
        assert line.lows is None or drawn == expected
    assert [line.lows is not None for line in lines] == [True, False, False, True]
    widths = [line.get_linewidth() for line in axes[3].lines]
    assert widths[0] == widths[3] > widths[1] == widths[2]
    opacities = [line.get_alpha() for line in axes[3].lines]
    assert opacities == sorted(opacities) and opacities[-1] == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(RANKS)


def test_sections_name_the_setting_and_are_left_out_without_one(rank: Findings) -> None:
    assert [ByValuePanel(rank).title, ByMethodPanel(rank).title] == [
        "Methods at each value of rank",
        "Each method over the values of rank",
    ]
    other = Findings(parse(synthetic("small/per-dataset")))
    for panel in (ByValuePanel(other), ByMethodPanel(other)):
        assert panel.is_empty
        assert panel.figure() is None
