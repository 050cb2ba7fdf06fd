"""Counts of weights by start and end, and by change: by hand, and against numpy's."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from lalora.methods import weight_changes
from lalora.methods.weight_changes import BINS
from lalora.results.weight_changes import WeightChanges


def test_a_few_weights_by_hand() -> None:
    before = {"a": torch.tensor([[1.0, -1.0], [0.5, 0.0]]), "b": torch.zeros(3)}
    after = {"a": torch.tensor([[0.89, 1.5], [0.5, -4.9]]), "b": torch.tensor([1e-9, 0.0015, 49.0])}
    found = weight_changes(before, after)
    assert found is not None
    assert (found["weights"], found["start_limit"], found["end_limit"]) == (7, 1.0, 49.0)
    # The start's bins are 2/49 wide, the end's 2 wide around 0, ±2, ±4, …; zero lies in the middle one, the 25th.
    filled = {(x, y): count for x, row in enumerate(found["joint"]) for y, count in enumerate(row) if count}
    last, middle = BINS - 1, BINS // 2
    assert filled == {
        (last, middle): 1,  # 1 → 0.89
        (0, middle + 1): 1,  # -1 → 1.5
        (36, middle): 1,  # 0.5 → 0.5: 1.5 / (2/49) = 36.75
        (middle, middle - 2): 1,  # 0 → -4.9
        (middle, middle): 2,  # 0 → 1e-9, 0.0015
        (middle, last): 1,  # 0 → 49
    }
    assert (found["unchanged"], found["smaller"], found["larger"]) == (1, 1, 1)
    # log10(0.0015) = -2.82, -0.96 for 0.11, 0.40 for 2.5 and 0.69 for 4.9, in sixths from -8 on.
    places = {place: count for place, count in enumerate(found["changes"]) if count}
    assert places == {math.floor(6 * (math.log10(change) + 8)): 1 for change in (0.0015, 0.11, 2.5, 4.9)}


@pytest.mark.parametrize("seed", range(3))
def test_it_counts_as_numpy_does(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    before = {"a": torch.rand(40, 7, generator=draw) - 0.5, "b": torch.zeros(300)}
    after = {
        name: start + 10.0 ** (-9 * torch.rand(start.shape, generator=draw)) * (2 * torch.rand(1, generator=draw) - 1)
        for name, start in before.items()
    }
    after["a"][:3] = before["a"][:3]
    found = weight_changes(before, after)
    assert found is not None
    start, end = (
        numpy.concatenate([tensors[n].double().flatten().numpy() for n in before]) for tensors in (before, after)
    )
    limits = [abs(start).max(), abs(end).max()]
    assert [found["start_limit"], found["end_limit"]] == limits
    counts, *_ = numpy.histogram2d(start, end, [[m * (2 * k / BINS - 1) for k in range(BINS + 1)] for m in limits])
    assert numpy.array_equal(found["joint"], counts)
    size = abs(end - start)
    sizes, _ = numpy.histogram(size, [10 ** (-8 + k / 6) for k in range(55)])
    assert found["changes"] == sizes.tolist()
    assert found["unchanged"] == (size == 0).sum() >= 21
    assert found["smaller"] == ((size > 0) & (size < 1e-8)).sum() > 0
    assert found["larger"] == 0
    assert found["weights"] == len(start) == counts.sum() == sum(sizes) + found["unchanged"] + found["smaller"]


def test_edges_and_density_are_those_of_the_counts() -> None:
    before = {"a": torch.linspace(-2, 2, 1000)}
    changes = WeightChanges(**weight_changes(before, {"a": 3 * before["a"]}) or {})
    assert changes.change_edges == pytest.approx([10 ** (-8 + k / 6) for k in range(55)], rel=1e-12)
    area = (4 / BINS) * (12 / BINS)
    assert sum(map(sum, changes.density)) * area == pytest.approx(1.0)
    assert changes.density[0][0] == pytest.approx(changes.joint[0][0] / 1000 / area)


def test_an_adapter_that_stays_zero_and_one_that_is_not_finite() -> None:
    zero = {"b": torch.zeros(4)}
    found = weight_changes(zero, zero)
    assert found is not None
    assert (found["start_limit"], found["unchanged"], found["joint"][BINS // 2][BINS // 2]) == (1.0, 4, 4)
    for value in (float("nan"), float("inf")):
        assert weight_changes(zero, {"b": torch.tensor([0.0, value, 0.0, 0.0])}) is None
