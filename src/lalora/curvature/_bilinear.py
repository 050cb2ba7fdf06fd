"""⟨G, dW X dWᵀ⟩ for a low-rank dW = U V, and the gradient of half of it, in root coordinates alone.

With R such that RᵀR = M, the root coordinates of columns C under M are H = RC, so that HᵀH = CᵀMC (`Factor.to_root`).
Every argument is a displacement or a start in root coordinates: those of A under X, (k, r), and those of B under G,
(l, r). Every function returns q, and what `Factor.from_root` turns into the gradients of ½q with respect to Aᵀ and B.
dW is never formed, and the scale s² is left to the caller.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def one_side(
    moved: Float[Tensor, "k r"], still: Float[Tensor, "l r"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "k r"]]:
    """Compute q and its gradient for dW = ΔB·A₀ or dW = B₀·ΔA, of the one that moves and of the other's start."""
    product = moved @ (still.T @ still)
    return (moved * product).sum(), product


def true_change(
    da: Float[Tensor, "k r"],
    db: Float[Tensor, "l r"],
    a0: Float[Tensor, "k r"] | None,
    b0: Float[Tensor, "l r"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "k r"], Float[Tensor, "l r"]]:
    """Compute q and both gradients for dW = BA − B₀A₀ = U V with U = [B−B₀, B₀] and V = [A; A−A₀].

    It is ⟨UᵀGU, VXVᵀ⟩: at Δ = 0 one side of each product is zero, and so the sum exactly. A start that is None is zero.
    """
    rank = da.shape[1]
    a = da if a0 is None else a0 + da
    u, v = (db, a) if b0 is None else (torch.cat([db, b0], dim=1), torch.cat([a, da], dim=1))
    form_u, form_v = u.T @ u, v.T @ v
    # UᵀGB, of which B = (B−B₀) + B₀ is the sum of both blocks of columns.
    with_b = form_u if b0 is None else form_u[:, :rank] + form_u[:, rank:]
    return (form_u * form_v).sum(), v @ with_b, u @ form_v[:, :rank]


def linear_change(
    da: Float[Tensor, "k r"], db: Float[Tensor, "l r"], a0: Float[Tensor, "k r"], b0: Float[Tensor, "l r"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "k r"], Float[Tensor, "l r"]]:
    """Compute q and both gradients for dW = ΔB·A₀ + B₀·ΔA = U V with U = [ΔB, B₀] and V = [A₀; ΔA]."""
    rank = da.shape[1]
    u, v = torch.cat([db, b0], dim=1), torch.cat([a0, da], dim=1)
    form_u, form_v = u.T @ u, v.T @ v
    return (form_u * form_v).sum(), v @ form_u[:, rank:], u @ form_v[:, :rank]
