"""Curvatures the slow way: dense matrices in float64, explicit Kronecker products, vec that stacks columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from hypothesis import strategies as st
from torch import Tensor

from lalora.curvature import Anchor, Factor, Factors, WeightDiagonal

Tensors = dict[str, Tensor]
LAYER = "model.q"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"


class Case:
    """Random X, G, start and displacement of one layer."""

    def __init__(
        self, seed: int = 0, out: int = 4, rank: int = 2, into: int = 5, positions: int = 7, zero: str = ""
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.out, self.rank, self.into = out, rank, into
        self.inputs, self.gradients = self.random(positions, into), self.random(positions, out)
        self.X = self.inputs.T @ self.inputs / positions
        self.G = self.gradients.T @ self.gradients / positions
        self.F = self.random(out, into).square()
        self.A0 = self.random(rank, into) * ("A" not in zero)
        self.B0 = self.random(out, rank) * ("B" not in zero)
        self.s = 1.7
        self.delta = {A: self.random(rank, into), B: self.random(out, rank)}

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    @property
    def anchors(self) -> dict[str, Anchor]:
        return {LAYER: Anchor.of(self.A0, self.B0, self.s)}

    @property
    def factors(self) -> Factors:
        share = 1 / len(self.inputs)
        x, g = Factor.of_rows(self.inputs, share), Factor.of_rows(self.gradients, share)
        return Factors.of({LAYER: x}, {LAYER: g})

    @property
    def weight_diagonal(self) -> WeightDiagonal:
        return WeightDiagonal.of({LAYER: self.F}, self.anchors)

    def zeros(self) -> Tensors:
        return {name: torch.zeros_like(block) for name, block in self.delta.items()}

    def true_change(self, delta: Mapping[str, Tensor]) -> Tensor:
        return self.s * ((self.B0 + delta[B]) @ (self.A0 + delta[A]) - self.B0 @ self.A0)

    def linear_change(self, delta: Mapping[str, Tensor]) -> Tensor:
        return self.s * (delta[B] @ self.A0 + self.B0 @ delta[A])


@st.composite
def cases(draw: st.DrawFn, zero: str = "") -> Case:
    size = st.integers(1, 5)
    return Case(draw(st.integers(0, 10_000)), draw(size), draw(st.integers(1, 3)), draw(size), draw(size), zero)


def vec(matrix: Tensor) -> Tensor:
    return matrix.T.reshape(-1)


def dense_kfac(case: Case) -> Tensor:
    """Λ of Eq. 8 on (vec ΔA, vec ΔB)."""
    outer = case.s**2 * case.G
    of_a = torch.kron(case.X, case.B0.T @ outer @ case.B0)
    of_b = torch.kron(case.A0 @ case.X @ case.A0.T, outer)
    return torch.block_diag(of_a, of_b)


def dense_tri_kfac(case: Case) -> Tensor:
    """Λ of Eq. 10: vec(R₁₂ ΔB L₁₀) = (L₁₀ᵀ ⊗ R₁₂) vec(ΔB)."""
    matrix = dense_kfac(case)
    block = torch.kron((case.A0 @ case.X).T.contiguous(), case.s**2 * case.B0.T @ case.G)
    corner = case.rank * case.into
    matrix[:corner, corner:] = block
    matrix[corner:, :corner] = block.T
    return matrix


def of_adapter(matrix: Tensor, delta: Mapping[str, Tensor]) -> Tensor:
    """ΔᵀΛΔ."""
    flat = torch.cat([vec(delta[A]), vec(delta[B])])
    return flat @ matrix @ flat


def of_weight(case: Case, change: Tensor) -> Tensor:
    """vec(ΔW)ᵀ(X ⊗ G)vec(ΔW)."""
    return vec(change) @ torch.kron(case.X, case.G) @ vec(change)


def by_autograd(quadratic: Callable[[Mapping[str, Tensor]], Tensor], delta: Mapping[str, Tensor]) -> Tensors:
    """The gradient of half a charge."""
    leaves = {name: block.clone().requires_grad_() for name, block in delta.items()}
    gradients = torch.autograd.grad(quadratic(leaves) / 2, list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))


def agree(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether two gradients are the same, a tensor that is not named being zero."""
    return all(
        torch.allclose(found[name] if name in found else torch.zeros_like(block), block, rtol=1e-9, atol=1e-9)
        for name, block in wanted.items()
    )
