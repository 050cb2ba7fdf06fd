"""The closed form and its cut to rank r, against dense linear systems and optimisation in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lalora.curvature import Anchor, Factor, Factors
from lalora.softening._layers import decomposed
from lalora.softening._low_rank import filtered, softened
from lalora.softening._naive import minimiser, objective
from lalora.softening._pencil import Pencil
from lalora.softening._shrinkage import Shrunk

Pair = tuple[Shrunk, Shrunk]

# (d_out, d_in, rows of each factor, r): wide, tall, few rows, r above d, a span smaller than d.
SIZES = [(7, 9, 3, 2), (9, 6, 20, 3), (12, 30, 2, 1), (5, 4, 8, 6), (20, 25, 3, 2)]
STRENGTHS = [0.0, 0.03, 1.0, 40.0]


def shrunk(size: int, rows: int, seed: int, share: float = 0.05) -> Shrunk:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    samples *= torch.logspace(0, -2, size, dtype=torch.float64)
    return Shrunk.of(Factor.of_rows(samples, 1 / max(rows, 1)), share)


def dense(factor: Shrunk) -> Tensor:
    inside = (factor.vectors * (factor.values - factor.floor)) @ factor.vectors.T
    return inside + factor.floor * torch.eye(factor.vectors.shape[0], dtype=inside.dtype)


def problem(sizes: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Pair, Pair]:
    out, into, rows, rank = sizes
    generator = torch.Generator().manual_seed(5)
    b = torch.randn(out, rank, generator=generator, dtype=torch.float64)
    a = torch.randn(rank, into, generator=generator, dtype=torch.float64)
    return b, a, (shrunk(out, rows, 1), shrunk(into, rows, 2)), (shrunk(out, rows, 3), shrunk(into, rows + 1, 4))


def pencils(b: Tensor, a: Tensor, target: Pair, source: Pair) -> tuple[tuple[Pencil, Tensor], tuple[Pencil, Tensor]]:
    return Pencil.of(target[0], source[0], b), Pencil.of(target[1], source[1], a.T)


def matrices(pair: Pair) -> tuple[Tensor, Tensor]:
    return dense(pair[0]), dense(pair[1])


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_without_the_cut_it_is_the_minimiser(sizes: tuple[int, int, int, int], strength: float) -> None:
    b, a, target, source = problem(sizes)
    (p, out), (q, into) = pencils(b, a, target, source)
    inside = filtered(out @ into.T, p.ratios, q.ratios, strength)
    found = q.columns(p.columns(inside).T).T
    wanted = minimiser(b @ a, matrices(target), matrices(source), strength)
    assert (found - wanted).norm() <= 1e-9 * wanted.norm()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_both_curvatures_are_diagonal_there(sizes: tuple[int, int, int, int]) -> None:
    b, a, target, source = problem(sizes)
    for side, (p, _) in enumerate(pencils(b, a, target, source)):
        vectors = p.columns(torch.eye(len(p.ratios), dtype=torch.float64))
        assert torch.allclose(vectors.T @ dense(target[side]) @ vectors, torch.eye(len(p.ratios)).double(), atol=1e-9)
        assert torch.allclose(vectors.T @ dense(source[side]) @ vectors, p.ratios.diag(), atol=1e-9)


def cut(b: Tensor, a: Tensor, target: Pair, source: Pair, strength: float) -> Tensor:
    (p, out), (q, into) = pencils(b, a, target, source)
    left, right = softened(out, into, p.ratios, q.ratios, strength)
    return p.columns(left) @ q.columns(right).T


@pytest.mark.parametrize("strength", STRENGTHS[1:])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_of_rank_r_nothing_near_is_better(sizes: tuple[int, int, int, int], strength: float) -> None:
    b, a, target, source = problem(sizes)
    found = cut(b, a, target, source, strength)
    rank = min(sizes[3], *sizes[:2])
    assert torch.linalg.matrix_rank(found, rtol=1e-10) <= rank

    def cost(change: Tensor) -> Tensor:
        return objective(change, b @ a, matrices(target), matrices(source), strength)

    u, s, v = torch.linalg.svd(found, full_matrices=False)
    halves = [(u * s.sqrt())[:, :rank].requires_grad_(), (s.sqrt()[:, None] * v)[:rank].requires_grad_()]
    gradients = torch.autograd.grad(cost(halves[0] @ halves[1]), halves)
    size = (dense(target[0]) @ (b @ a) @ dense(target[1])).norm()
    assert max(float(gradient.norm()) for gradient in gradients) <= 1e-5 * float(size)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_cut_beats_one_in_the_targets_metric_alone(sizes: tuple[int, int, int, int]) -> None:
    b, a, target, source = problem(sizes)
    rank, strength = sizes[3], 1.0
    (p, out), (q, into) = pencils(b, a, target, source)
    inside = filtered(out @ into.T, p.ratios, q.ratios, strength)
    u, s, v = torch.linalg.svd(inside, full_matrices=False)
    nearest = p.columns(u[:, :rank] * s[:rank]) @ q.columns(v[:rank].T).T
    costs = [
        float(objective(change, b @ a, matrices(target), matrices(source), strength))
        for change in (cut(b, a, target, source, strength), nearest)
    ]
    assert costs[0] <= costs[1] * (1 + 1e-9)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_at_no_strength_the_adapter_and_at_any_the_base(sizes: tuple[int, int, int, int]) -> None:
    b, a, target, source = problem(sizes)
    assert torch.allclose(cut(b, a, target, source, 0.0), b @ a, rtol=1e-9, atol=1e-9)
    assert cut(b, a, target, source, 1e12).norm() <= 1e-6 * (b @ a).norm()


def test_any_factorisation_of_one_change_gives_the_same() -> None:
    b, a, target, source = problem(SIZES[0])
    mix = torch.tensor([[2.0, 0.3], [-0.7, 0.5]], dtype=torch.float64)
    first, second = cut(b, a, target, source, 1.0), cut(b @ mix, torch.linalg.inv(mix) @ a, target, source, 1.0)
    assert torch.allclose(first, second, rtol=1e-7, atol=1e-9)


def test_a_truncated_factor_is_shrunk_with_its_tail() -> None:
    factor = Factor.of_rows(torch.randn(9, 7, generator=torch.Generator().manual_seed(0)).double(), rank=3)
    wanted = 0.8 * factor.dense() + 0.2 * factor.trace / 7 * torch.eye(7, dtype=torch.float64)
    assert torch.allclose(dense(Shrunk.of(factor, 0.2)), wanted)


def test_one_entry_by_hand() -> None:
    one = Factor(torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    target = (Shrunk.of(one.scaled(3.0), 0.2), Shrunk.of(one.scaled(2.0), 0.2))
    source = (Shrunk.of(one.scaled(5.0), 0.2), Shrunk.of(one.scaled(7.0), 0.2))
    b, a = torch.tensor([[4.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    # (3·2·(w − 2)² + λ·5·7·w²)/2 is least at w = 2·6/(6 + 35λ).
    assert float(cut(b, a, target, source, 0.1)) == pytest.approx(2 * 6 / 9.5, rel=1e-12)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_along_the_strengths_the_source_is_held_and_the_target_given_up(sizes: tuple[int, int, int, int]) -> None:
    b, a, target, source = problem(sizes)
    none = (torch.zeros(sizes[0], sizes[0]).double(), torch.zeros(sizes[1], sizes[1]).double())
    drift, lost = [], []
    for strength in (0.0, 0.01, 0.1, 1.0, 10.0, 100.0):
        change = cut(b, a, target, source, strength)
        drift.append(float(objective(change, b @ a, none, matrices(source), 1.0)))
        lost.append(float(objective(change, b @ a, matrices(target), none, 0.0)))
    assert drift == sorted(drift, reverse=True)
    assert lost == sorted(lost)


def test_layers_of_which_one_side_knows_nothing() -> None:
    b, a, target, source = problem(SIZES[0])
    nothing = Factor(torch.zeros(7, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    some = [Factor(part.vectors, part.values) for part in (target[0], target[1], source[1])]
    anchors = {"layer": Anchor.of(a, b, 2.0)}
    kept, dropped = (
        decomposed(anchors, Factors.of({"layer": some[1]}, {"layer": g}), Factors.of({"layer": some[2]}, {"layer": h}))
        for g, h in ((some[0], nothing), (nothing, some[0]))
    )
    into, out = kept["layer"].at(10.0).change()
    assert torch.allclose((into @ out).double(), 2 * b @ a, rtol=1e-5)
    into, out = dropped["layer"].at(10.0).change()
    assert float((into @ out).norm()) <= 1e-6 * float((b @ a).norm())


def test_layers_that_read_one_input_share_its_decomposition() -> None:
    b, a, target, source = problem(SIZES[4])
    parts = [Factor(part.vectors, part.values) for part in (*target, *source)]
    keys = {"q": "q", "k": "q", "o": "o"}
    anchors = {"q": Anchor.of(a, b, 1.0), "k": Anchor.of(2 * a.flip(0), b, 1.0), "o": Anchor.of(a, b, 1.0)}

    def factors(g: Factor, x: Factor) -> Factors:
        return Factors.of({"q": x, "o": x}, dict.fromkeys(keys, g), keys)

    together = decomposed(anchors, factors(*parts[:2]), factors(*parts[2:]))
    assert together["q"].inputs is together["k"].inputs
    for name in keys:
        alone = decomposed({name: anchors[name]}, factors(*parts[:2]), factors(*parts[2:]))[name].at(1.0).change()
        found = together[name].at(1.0).change()
        assert torch.allclose(found[0] @ found[1], alone[0] @ alone[1], atol=1e-5)
