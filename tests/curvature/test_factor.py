"""Compact factors against dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lalora.curvature import Factor
from lalora.errors import LaloraError

SIZES = st.integers(1, 8)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 10_000), count=SIZES, size=SIZES, columns=SIZES)
def test_compact_is_dense_at_full_rank(seed: int, count: int, size: int, columns: int) -> None:
    rows, vectors = random(seed, count, size), random(seed + 1, size, columns)
    dense = rows.T @ rows / count
    for factor in (Factor.of_rows(rows, 1 / count), Factor.of_matrix(dense)):
        # Of a dense matrix an eigenvalue that is zero to rounding may stay.
        assert float(factor.values[min(count, size) :].sum()) <= 1e-14 * float(factor.trace)
        assert factor.averaged == 0
        assert torch.allclose(factor.dense(), dense)
        assert torch.allclose(factor.times(vectors), dense @ vectors)
        assert torch.allclose(factor.inner(vectors), vectors.T @ dense @ vectors)
        assert torch.allclose(factor.vectors.T @ factor.vectors, torch.eye(factor.rank).double(), atol=1e-6)
        assert torch.equal(factor.values, factor.values.sort(descending=True).values)


@given(seed=st.integers(0, 10_000), count=SIZES, size=SIZES, rank=SIZES, keep=st.floats(0.1, 1))
def test_truncation_keeps_the_mean_of_the_rest(seed: int, count: int, size: int, rank: int, keep: float) -> None:
    rows, columns = random(seed, count, size), random(seed + 1, size, 3)
    whole = Factor.of_rows(rows)
    part = Factor.of_rows(rows, rank=rank, keep=keep)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    values[: size - part.rank] = values[: size - part.rank].mean() if part.rank < size else 0.0
    dense = (vectors * values) @ vectors.T
    assert part.rank <= rank
    assert torch.allclose(part.dense(), dense, atol=1e-9)
    assert torch.allclose(part.times(columns), dense @ columns, atol=1e-9)
    assert torch.allclose(part.inner(columns), columns.T @ dense @ columns, atol=1e-9)
    assert float(part.trace) == pytest.approx(float(rows.square().sum()))
    shown = float(values.flip(0)[: part.rank].sum() / rows.square().sum())
    assert part.averaged == pytest.approx(1 - shown, abs=1e-9)
    if part.rank < rank:
        assert part.averaged <= 1 - keep + 1e-12
        one_less = whole.truncated(part.rank - 1) if part.rank > 1 else None
        assert one_less is None or one_less.averaged > 1 - keep - 1e-12


def test_truncating_twice_is_truncating_once() -> None:
    factor = Factor.of_matrix(torch.diag(torch.tensor([8.0, 4.0, 2.0, 2.0])))
    assert factor.truncated(3).tail == pytest.approx(2)
    assert factor.truncated(3).truncated(1).tail == pytest.approx(8 / 3)
    assert factor.truncated(3).truncated(1).averaged == pytest.approx(8 / 16)
    assert factor.truncated(keep=0.75).rank == 2


def test_no_matrix_of_full_size_is_built() -> None:
    rows = random(0, 3, 2_000_000)
    factor = Factor.of_rows(rows)
    assert factor.rank == 3
    assert torch.allclose(factor.inner(rows.T), (rows @ rows.T) @ (rows @ rows.T))


@given(seed=st.integers(0, 10_000), counts=st.lists(SIZES, min_size=1, max_size=3), size=SIZES)
def test_combined(seed: int, counts: list[int], size: int) -> None:
    parts = [Factor.of_rows(random(seed + number, count, size)) for number, count in enumerate(counts)]
    weights = [0.5 + number for number in range(len(parts))]
    wanted = sum(weight * part.dense() for weight, part in zip(weights, parts, strict=True))
    assert torch.allclose(Factor.combined(parts, weights).dense(), torch.as_tensor(wanted))


@given(seed=st.integers(0, 10_000), counts=st.lists(SIZES, min_size=1, max_size=3), size=SIZES, rank=SIZES)
def test_combined_with_their_tails(seed: int, counts: list[int], size: int, rank: int) -> None:
    parts = [Factor.of_rows(random(seed + number, count, size), rank=rank) for number, count in enumerate(counts)]
    both = Factor.combined(parts)
    assert torch.allclose(both.dense(), torch.as_tensor(sum(part.dense() for part in parts)), atol=1e-9)
    assert both.tail <= float(both.values.min()) * (1 + 1e-9) if both.rank else both.tail == 0


def test_bfloat16_and_float32_rows() -> None:
    rows = random(1, 4, 6)
    assert Factor.of_rows(rows.bfloat16()).vectors.dtype == torch.float32
    assert torch.allclose(Factor.of_rows(rows.float()).dense().double(), rows.T @ rows, rtol=1e-5, atol=1e-5)
    stored = Factor.of_rows(rows.float()).to(torch.device("cpu"), torch.bfloat16)
    assert torch.allclose(Factor.combined([stored]).dense().double(), rows.T @ rows, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("rows", [torch.zeros(3, 4), torch.zeros(0, 4), torch.zeros(5, 4)])
def test_nothing_to_keep(rows: Tensor) -> None:
    factor = Factor.of_rows(rows, rank=2, keep=0.9)
    assert (factor.rank, factor.size, factor.averaged) == (0, 4, 0)
    assert torch.equal(factor.times(torch.ones(4, 2)), torch.zeros(4, 2))
    assert Factor.combined([factor, factor]).rank == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(value: float) -> None:
    with pytest.raises(LaloraError, match="not finite"):
        Factor.of_matrix(torch.full((2, 2), value))
    for count in (2, 6):
        with pytest.raises(LaloraError, match="not finite"):
            Factor.of_rows(torch.full((count, 4), value))


@pytest.mark.parametrize("limits", [{"rank": 0}, {"keep": 0.0}, {"keep": 1.5}, {"keep": float("nan")}])
def test_limits_out_of_range(limits: dict[str, float]) -> None:
    with pytest.raises(LaloraError, match=next(iter(limits))):
        Factor.of_matrix(torch.eye(3), **limits)  # type: ignore[arg-type]


def test_flat_tensors_and_back() -> None:
    factor = Factor.of_rows(random(3, 4, 6), rank=2)
    again = Factor.from_tensors(factor.tensors())
    assert torch.equal(again.dense(), factor.dense())
    assert again.tail == factor.tail > 0
