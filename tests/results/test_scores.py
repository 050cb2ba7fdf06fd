"""Selections of a setting against hand-computed examples and the paper's own tables."""

from __future__ import annotations

import pytest

from lalora import LaloraError
from lalora.results.intervals import paired
from lalora.results.pareto import hypervolume, pareto_front
from lalora.results.scores import best_above, score, stability

# Table 4: knob, F, L, S_B as printed. Table 5: the knob chosen for stability and for plasticity. The caption of Table 5
# swaps the two criteria against the text of App. E; its entries follow the text, and so do we.
TABLE_4 = {
    "diagonal": [
        (0, 0.618, 0.250, 0.44),
        (1, 0.616, 0.265, 0.59),
        (10, 0.635, 0.276, 0.83),
        (1e2, 0.646, 0.233, 0.47),
        (1e3, 0.658, 0.232, 0.54),
        (1e4, 0.647, 0.226, 0.39),
        (1e5, 0.653, 0.209, 0.26),
        (1e6, 0.658, 0.233, 0.55),
    ],
    "kfac": [
        (0.05, 0.629, 0.238, 0.45),
        (0.10, 0.636, 0.232, 0.36),
        (0.15, 0.639, 0.246, 0.85),
        (0.20, 0.643, 0.235, 0.57),
        (0.25, 0.649, 0.224, 0.30),
        (0.30, 0.644, 0.236, 0.63),
        (0.35, 0.644, 0.233, 0.52),
    ],
    "migu": [
        (0.5, 0.629, 0.220, 0.06),
        (0.6, 0.642, 0.226, 0.31),
        (0.7, 0.650, 0.255, 0.76),
        (0.75, 0.634, 0.236, 0.32),
        (0.8, 0.643, 0.252, 0.62),
        (0.85, 0.629, 0.215, 0.00),
        (0.9, 0.649, 0.276, 0.98),
    ],
    "l2": [
        (1e-7, 0.627, 0.279, 0.65),
        (1e-6, 0.626, 0.270, 0.58),
        (1e-5, 0.629, 0.250, 0.47),
        (5e-4, 0.649, 0.286, 0.89),
        (1e-3, 0.655, 0.217, 0.43),
        (1e-2, 0.659, 0.202, 0.36),
        (1e-1, 0.663, 0.189, 0.30),
    ],
}
# Tables 6 and 7: the same for MATH and for Llama-3.1-8B.
TABLE_6 = [
    (0, 0.591, 0.088, 0.61),
    (1, 0.603, 0.094, 0.75),
    (10, 0.619, 0.083, 0.67),
    (1e2, 0.645, 0.091, 0.88),
    (1.5e2, 0.644, 0.089, 0.86),
    (2.5e2, 0.650, 0.086, 0.84),
    (1e3, 0.652, 0.080, 0.76),
    (5e3, 0.660, 0.047, 0.30),
]
TABLE_7 = [
    (0, 0.619, 0.370, 0.50),
    (1, 0.650, 0.296, 0.09),
    (50, 0.690, 0.400, 0.90),
    (1e2, 0.698, 0.380, 0.79),
    (1e3, 0.710, 0.352, 0.63),
    (5e3, 0.728, 0.385, 0.90),
    (1e4, 0.726, 0.389, 0.92),
    (5e4, 0.726, 0.399, 0.98),
]
TABLE_5 = {"diagonal": (1e3, 10), "kfac": (0.25, 0.15), "migu": (0.7, 0.9), "l2": (1e-1, 5e-4)}


@pytest.mark.parametrize("method", TABLE_4)
def test_the_papers_score_and_choice(method: str) -> None:
    knobs, keeping, learning, printed = zip(*TABLE_4[method], strict=True)
    # F and L are printed with three digits, so that differences are known to 0.001; S_B with two.
    rounding = 0.7 * 0.001 / (max(learning) - min(learning)) + 0.3 * 0.001 / (max(keeping) - min(keeping)) + 0.005
    assert rounding < 0.06
    assert score(learning, keeping) == pytest.approx(printed, abs=rounding)
    # The diagonal's 10^3 and 10^6 are equal in F, as Table 5 says; the first is taken, there and here.
    found = score(learning, keeping)
    assert (knobs[stability(keeping)], knobs[found.index(max(found))]) == TABLE_5[method]


@pytest.mark.parametrize("table", [TABLE_4["diagonal"], TABLE_6, TABLE_7], ids=["4", "6", "7"])
def test_the_papers_score_of_no_penalty(table: list[tuple[float, float, float, float]]) -> None:
    knobs, keeping, learning, printed = zip(*table, strict=True)
    assert knobs[0] == 0
    # λ = 0 is scaled together with the diagonal's strengths; without it the others would score differently.
    assert score(learning, keeping)[0] == pytest.approx(printed[0], abs=0.01)
    without = score(learning[1:], keeping[1:])
    rounding = 0.7 * 0.001 / (max(learning) - min(learning)) + 0.3 * 0.001 / (max(keeping) - min(keeping)) + 0.005
    assert score(learning, keeping) == pytest.approx(printed, abs=rounding)
    if table is not TABLE_4["diagonal"]:  # there neither end of a scale is at λ = 0
        assert without != pytest.approx(printed[1:], abs=rounding)


@pytest.mark.parametrize("method", ["kfac", "migu", "l2"])
def test_the_papers_other_grids_have_no_zero(method: str) -> None:
    _, keeping, learning, printed = zip(TABLE_4["diagonal"][0], *TABLE_4[method], strict=True)
    rounding = 0.7 * 0.001 / (max(learning) - min(learning)) + 0.3 * 0.001 / (max(keeping) - min(keeping)) + 0.005
    assert score(learning, keeping)[1:] != pytest.approx(printed[1:], abs=rounding)


def test_the_score_by_hand() -> None:
    assert score([0.2, 0.4, 0.3], [1.0, 0.0, 0.5]) == pytest.approx([0.3, 0.7, 0.5])
    assert score([0.2, 0.4], [1.0, 0.0], alpha=0.25) == pytest.approx([0.75, 0.25])
    assert score([0.5, 0.5], [1.0, 0.0]) == pytest.approx([0.3, 0.0])
    assert score([0.5], [0.5]) == [0.0]


def test_most_learned_of_what_keeps_enough() -> None:
    learning, keeping = [0.1, 0.5, 0.9], [0.9, 0.6, 0.2]
    assert best_above(0.5, learning, keeping) == 1
    assert best_above(0.6, learning, keeping) == 1
    assert best_above(0.61, learning, keeping) == 0
    assert best_above(0.95, learning, keeping) is None


def test_who_is_beaten() -> None:
    points = [(3.0, 3.0), (1.0, 1.0), (2.0, 4.0), (2.0, 2.0), (2.0, 2.0)]
    assert pareto_front(points) == [2, 0]
    assert pareto_front([(x, -y) for x, y in points]) == [1, 3, 4, 0]
    assert pareto_front([]) == []


def test_front_and_hypervolume_by_hand() -> None:
    points = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (1.5, 1.5), (2.0, 1.0), (1.0, 3.0)]
    assert [points[place] for place in pareto_front(points)] == [(1.0, 3.0), (1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert hypervolume(points, (0.0, 0.0)) == pytest.approx(3 + 2 + 1)
    assert hypervolume(points, (1.0, 0.0)) == pytest.approx(2 + 1)
    assert hypervolume(points, (0.0, 2.5)) == pytest.approx(0.5)
    assert hypervolume(points, (3.0, 3.0)) == 0
    with pytest.raises(LaloraError, match="needs finite scores"):
        hypervolume([(float("nan"), 1.0)], (0.0, 0.0))


def test_a_difference_is_paired_by_seed() -> None:
    found = paired({0: 1.0, 1: 5.0, 2: 3.0}, {1: 4.0, 0: 0.5, 2: 2.7})
    assert found.mean == pytest.approx(0.6)
    # Differences 0.5, 1 and 0.3: standard deviation 0.3606, and 4.303 is Student's quantile of two degrees of freedom.
    assert (found.low, found.high) == pytest.approx((0.6 - 4.3027 * 0.20817, 0.6 + 4.3027 * 0.20817), abs=1e-4)
    assert not found.excludes_zero
    assert paired({0: 1.0, 1: 1.1, 2: 0.9}, {0: 0.0, 1: 0.0, 2: 0.0}).excludes_zero
    assert paired({0: 0.0, 1: 0.0}, {0: 1.0, 1: 1.0}).excludes_zero


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_interval_covers_as_often_as_it_says_with_few_seeds_too(seeds: int) -> None:
    import numpy as np

    draw = np.random.default_rng(3)
    missed = sum(
        paired(dict(enumerate(draw.normal(0.0, 1.0, seeds))), dict.fromkeys(range(seeds), 0.0)).excludes_zero
        for _ in range(1000)
    )
    assert missed == pytest.approx(50, abs=21)  # three standard deviations


def test_one_seed_has_no_interval() -> None:
    found = paired({3: 1.0}, {3: 0.25})
    assert (found.mean, found.low, found.high, found.excludes_zero) == (0.75, None, None, False)


def test_other_seeds_cannot_be_paired() -> None:
    with pytest.raises(LaloraError, match=r"seeds \[0, 1\] and \[0, 2\] cannot be paired"):
        paired({0: 1.0, 1: 1.0}, {0: 1.0, 2: 1.0})
    with pytest.raises(LaloraError, match="no seed"):
        paired({}, {})
