"""The best change of rank r for one layer at one λ, in coordinates where both curvatures are diagonal."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDS = 200
_SMALLEST_GAIN = 1e-9


def filtered(
    change: Float[Tensor, "m n"], outputs: Float[Tensor, " m"], inputs: Float[Tensor, " n"], strength: float
) -> Float[Tensor, "m n"]:
    """Solve without a limit to the rank: C_ij = D_ij / (1 + λγ_iξ_j)."""
    return change / (1 + strength * torch.outer(outputs, inputs))


def softened(
    left: Float[Tensor, "m r"],
    right: Float[Tensor, "n r"],
    outputs: Float[Tensor, " m"],
    inputs: Float[Tensor, " n"],
    strength: float,
) -> tuple[Float[Tensor, "m k"], Float[Tensor, "n k"]]:
    """Minimise ‖C − D‖² + λ Σ γ_i ξ_j C_ij² over C of rank r at most, with D = left·rightᵀ.

    Given the row space of C the best C is known, and given that one's column space likewise: from the row space of D
    these are solved in turn, each exactly and in O((m + n)r²), until the objective stays.
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
    far: Float[Tensor, "m r"],
    near: Float[Tensor, "n r"],
    weights: Float[Tensor, " m"],
    spread: Float[Tensor, " n"],
    span: Float[Tensor, "n k"],
    strength: float,
) -> tuple[Float[Tensor, "n l"], Float[Tensor, "m l"], float]:
    # The best C = other·basisᵀ whose rows lie in the span, where D = far·nearᵀ.
    basis = torch.linalg.qr(span).Q
    values, vectors = torch.linalg.eigh(basis.T @ (spread[:, None] * basis))
    basis = basis @ vectors
    whole = far @ (near.T @ basis)
    other = whole / (1 + strength * torch.outer(weights, values.clamp_min(0)))
    # The objective is ‖D‖² minus this.
    return basis, other, float((whole * other).sum())
