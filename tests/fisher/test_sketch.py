"""A sketch of many rows against their sum."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lalora import processes
from lalora.fisher._second_moment import SecondMoment, added_up

SIZE, RANK = 120, 8


def rows(seed: int = 0, count: int = 900) -> Tensor:
    """Of a spectrum that decays, and goes on."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)).Q
    scales = torch.arange(1, SIZE + 1, dtype=torch.float64) ** -0.7
    return (torch.randn(count, SIZE, generator=generator, dtype=torch.float64) * scales) @ turned


def sketched(given: Tensor, batch: int = 50) -> SecondMoment:
    moment = SecondMoment(RANK)
    for part in given.split(batch):
        moment.add(part)
        assert sum(len(held) for held in moment.tensors()) < 2.5 * RANK
    return moment


@pytest.mark.parametrize("batch", [1, 50, 900])
def test_it_is_below_the_sum_and_the_rest_is_spread_evenly(batch: int) -> None:
    given = rows()
    dense, moment = given.T @ given, sketched(given, batch)
    held = torch.cat(moment.tensors())
    missing = torch.linalg.eigvalsh(dense - held.T @ held)
    assert float(missing.min()) > -1e-9
    assert float(missing.sum()) == pytest.approx(moment._left_out, rel=1e-9)
    found = moment.factor(RANK, None)
    assert found.rank <= RANK
    assert float(found.trace) == pytest.approx(float(dense.trace()), rel=1e-9)
    exact = torch.linalg.eigvalsh(dense).flip(0)[:RANK]
    assert torch.allclose(found.values[:4], exact[:4], rtol=0.03)
    # Directions that have nothing to do with the rows, and a mixture of rows that were not seen.
    for columns in (torch.randn(SIZE, 30).double(), rows(0, 950)[900:].T):
        form, true = (torch.trace(columns.T @ one @ columns) for one in (found.dense(), dense))
        assert float(form / true) == pytest.approx(1, abs=0.08)


def test_few_rows_are_kept_as_they_are() -> None:
    given = rows(count=19)
    found = sketched(given).factor(RANK, None)
    exact = SecondMoment()
    exact.add(given)
    assert torch.allclose(found.dense(), exact.factor(RANK, None).dense())


def test_white_noise_is_its_mean() -> None:
    given = torch.randn(4000, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = sketched(given).factor(RANK, None)
    assert float(found.trace) == pytest.approx(float(given.square().sum()))
    assert found.tail == pytest.approx(4000, rel=0.15)
    assert bool((found.values >= found.tail).all())


def test_datasets_count_with_their_weights() -> None:
    total = SecondMoment(RANK)
    total.absorb(sketched(rows(0)), 0.25)
    total.absorb(sketched(rows(1)), 3.0)
    found = total.factor(RANK, None)
    wanted = 0.25 * rows(0).square().sum() + 3 * rows(1).square().sum()
    assert float(found.trace) == pytest.approx(float(wanted), rel=1e-9)


def test_processes_are_merged_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [sketched(rows(0)), sketched(rows(1, 300)), SecondMoment(RANK)]
    held = [torch.cat(one.tensors()) for one in own[:2]]
    shares = [{"layer": own[0].share()}, {"layer": own[1].share()}, {}]

    def broadcast(tensor: Tensor, source: int) -> Tensor:
        assert tensor.shape == held[source].shape
        return held[source]

    monkeypatch.setattr(processes, "all_gather", lambda value: shares)
    monkeypatch.setattr(processes, "broadcast", broadcast)
    ends: list[Any] = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        mine = {"layer": own[rank]} if rank < 2 else {}
        ends.append(added_up(mine, RANK, torch.device("cpu"))["layer"].factor(RANK, None))
    total = rows(0).square().sum() + rows(1, 300).square().sum()
    for end in ends:
        assert torch.equal(end.dense(), ends[0].dense())
        assert float(end.trace) == pytest.approx(float(total), rel=1e-9)


def test_the_largest_of_a_dense_sum_without_decomposing_it() -> None:
    given = torch.randn(3000, 400, generator=torch.Generator().manual_seed(2)) * torch.arange(1, 401) ** -0.5
    moment = SecondMoment(40)
    moment.add(given)
    found, exact = moment.factor(40, None), torch.linalg.eigvalsh(given.T @ given).flip(0)
    assert found.rank == 40
    assert torch.allclose(found.values, exact[:40], rtol=0.03)
    assert float(found.values.sum()) >= 0.995 * float(exact[:40].sum())
    assert found.tail == pytest.approx(float(exact[40:].mean()), rel=0.02)
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(40), atol=1e-5)
    state = torch.get_rng_state()
    assert torch.equal(moment.factor(40, None).dense(), found.dense())
    assert torch.equal(torch.get_rng_state(), state)
