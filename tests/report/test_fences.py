"""Far values do not squeeze an axis, and an axis over one value shows no difference."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from lalora.report.clipped import Far, clip
from lalora.report.fences import fences
from lalora.report.pictures import settle

BULK = [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]


def test_far_ends_are_outside_and_the_bulk_is_not() -> None:
    limits = fences([*BULK, 0.01], base=0.0, keeps_base=False)
    assert limits is not None
    assert 0.01 < limits[0] <= 0.9
    assert limits[1] >= 1.0


def test_a_far_end_stays_where_the_axis_is_hardly_longer_for_it() -> None:
    assert fences([*BULK, 0.8], base=0.95, keeps_base=False) is None


def test_the_base_model_alone_is_outside_where_it_squeezes_all_ends() -> None:
    assert fences(BULK, base=0.0, keeps_base=False) == (0.9, 1.0)
    assert fences(BULK, base=0.0, keeps_base=True) is None
    assert fences(BULK, base=0.85, keeps_base=False) is None


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 1.0, 1.0, 1.0], [1.0] * 9 + [2.0]])
def test_few_or_equal_ends_have_no_fences(values: list[float]) -> None:
    assert fences(values, base=0.0, keeps_base=True) is None


def test_in_pictures_far_marks_stand_at_the_edge_with_their_values() -> None:
    figure = Figure()
    first, second = figure.subplots(1, 2, sharex=True)
    marks = [[Far((value, 0.5), "near", "#000000") for value in BULK], [Far((0.01, 0.5), "far", "#000000")]]
    clip(((0.9, 1.0), None), list(zip((first, second), marks, strict=True)))
    assert first.get_xlim() == second.get_xlim() == pytest.approx((0.892, 1.008))
    assert [text.get_text() for text in second.texts] == ["far: 0.01, 0.5"]
    (edge,) = second.lines
    assert (edge.get_marker(), float(edge.get_xdata()[0])) == ("<", pytest.approx(0.892))
    assert not first.texts


def test_an_axis_over_one_value_has_one_tick() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([40, 40, 40], [0.40001, 0.40002, 0.40003], "o")
    settle(figure)
    assert ([*axes.get_xticks()], [text.get_text() for text in axes.get_xticklabels()]) == ([40], ["40"])
    assert len(axes.get_yticks()) == 1
    assert axes.get_ylim()[0] < 0.1


def test_an_axis_over_values_that_differ_is_left_alone() -> None:
    figure = Figure()
    first, second = figure.subplots(1, 2, sharey=True)
    first.plot([0, 1], [0.4, 0.4])
    second.plot([0, 1], [0.5, 0.5])
    settle(figure)
    assert len(first.get_yticks()) > 1
