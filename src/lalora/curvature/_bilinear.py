"""⟨G, dW X dWᵀ⟩ for a low-rank dW = U V, and half its gradient, from the halves of U and Vᵀ alone.

The half of columns C under a matrix M is an H with HᵀH = CᵀMC (`Factor.half`). Every argument is the half of a
displacement or of a start: those of A under X, (k, r), and those of B under G, (k', r). Every function returns the
charge, and two halves that `Factor.back` turns into the gradients of ½·charge with respect to Aᵀ and B. dW is never
formed, and the scale s² is left to the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_side(moved: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """Charge for dW = ΔB·A₀, or for dW = B₀·ΔA.

    Args:
        moved: Half of the one that moves.
        still: Half of the start of the other.

    Returns:
        The charge, a sum of squares; the half of the gradient.
    """
    product = moved @ (still.T @ still)
    return (moved * product).sum(), product


def true_change(da: Tensor, db: Tensor, a0: Tensor | None, b0: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Charge for dW = BA − B₀A₀ = U V with U = [B−B₀, B₀] and V = [A; A−A₀].

    It is ⟨UᵀGU, VXVᵀ⟩: at Δ = 0 one side of each product is zero, and so the sum exactly.

    Args:
        da: Half of A − A₀.
        db: Half of B − B₀.
        a0: Half of A₀; None where it is zero.
        b0: Half of B₀; None where it is zero.

    Returns:
        The charge; the halves of both gradients.
    """
    rank = da.shape[1]
    a = da if a0 is None else a0 + da
    u, v = (db, a) if b0 is None else (torch.cat([db, b0], dim=1), torch.cat([a, da], dim=1))
    form_u, form_v = u.T @ u, v.T @ v
    # UᵀGB, of which B = (B−B₀) + B₀ is the sum of both blocks of columns.
    with_b = form_u if b0 is None else form_u[:, :rank] + form_u[:, rank:]
    return (form_u * form_v).sum(), v @ with_b, u @ form_v[:, :rank]


def linear_change(da: Tensor, db: Tensor, a0: Tensor, b0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Charge for the linearised dW = ΔB·A₀ + B₀·ΔA = U V with U = [ΔB, B₀] and V = [A₀; ΔA].

    Args:
        da: Half of ΔA.
        db: Half of ΔB.
        a0: Half of A₀.
        b0: Half of B₀.

    Returns:
        The charge; the halves of both gradients.
    """
    rank = da.shape[1]
    u, v = torch.cat([db, b0], dim=1), torch.cat([a0, da], dim=1)
    form_u, form_v = u.T @ u, v.T @ v
    return (form_u * form_v).sum(), v @ form_u[:, rank:], u @ form_v[:, :rank]
