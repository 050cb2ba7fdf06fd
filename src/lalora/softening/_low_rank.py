"""The best change of rank r for one layer at one λ, in coordinates where both curvatures are diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 200
_SMALLEST_GAIN = 1e-9


def filtered(change: Tensor, outputs: Tensor, inputs: Tensor, strength: float) -> Tensor:
    """Solve without a limit to the rank: C_ij = D_ij / (1 + λγ_iξ_j).

    Args:
        change: D, the trained change, (m, n).
        outputs: γ, (m,).
        inputs: ξ, (n,).
        strength: λ ≥ 0.

    Returns:
        C, (m, n).
    """
    return change / (1 + strength * torch.outer(outputs, inputs))


def softened(left: Tensor, right: Tensor, outputs: Tensor, inputs: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Minimise ‖C − D‖² + λ Σ γ_i ξ_j C_ij² over C of rank r at most, with D = left·rightᵀ.

    Given the row space of C the best C is known, and given that one's column space likewise: from the row space of D
    these are solved in turn, each exactly and in O((m + n)r²), until the objective stays.

    Args:
        left: (m, r).
        right: (n, r).
        outputs: γ, (m,).
        inputs: ξ, (n,).
        strength: λ ≥ 0.

    Returns:
        Two matrices, (m, r) and (n, r), whose product is C.
    """
    basis, found, before = left, right, -torch.inf
    for _ in range(_ROUNDS):
        found = _best(left, right, outputs, inputs, found, strength)[1]
        basis, found, gained = _best(right, left, inputs, outputs, found, strength)
        if gained <= before * (1 + _SMALLEST_GAIN):
            break
        before = gained
    return basis, found


def _best(
    far: Tensor, near: Tensor, weights: Tensor, spread: Tensor, span: Tensor, strength: float
) -> tuple[Tensor, Tensor, float]:
    # The best C = other·basisᵀ whose rows lie in the span, where D = far·nearᵀ.
    basis = torch.linalg.qr(span).Q
    values, vectors = torch.linalg.eigh(basis.T @ (spread[:, None] * basis))
    basis = basis @ vectors
    whole = far @ (near.T @ basis)
    other = whole / (1 + strength * torch.outer(weights, values.clamp_min(0)))
    # The objective is ‖D‖² minus this.
    return basis, other, float((whole * other).sum())
