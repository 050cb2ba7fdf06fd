"""The same by the definition: dense matrices, vec and Kronecker products written out. For tests and small layers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Sides = tuple[Float[Tensor, "d_out d_out"], Float[Tensor, "d_in d_in"]]
"""G and X."""


def minimiser(
    trained: Float[Tensor, "d_out d_in"], target: Sides, source: Sides, strength: float
) -> Float[Tensor, "d_out d_in"]:
    """Solve argmin_ΔW ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩ + λ·½⟨G_s, ΔW X_s ΔWᵀ⟩ as one linear system."""
    of_target, of_source = torch.kron(*target), torch.kron(*source)  # of vec by rows: G ⊗ X
    found: Tensor = torch.linalg.solve(of_target + strength * of_source, of_target @ trained.flatten())
    return found.view_as(trained)


def objective(
    change: Float[Tensor, "d_out d_in"],
    trained: Float[Tensor, "d_out d_in"],
    target: Sides,
    source: Sides,
    strength: float,
) -> Float[Tensor, ""]:
    """Compute what is minimised."""
    (gt, xt), (gs, xs), apart = target, source, change - trained
    return 0.5 * ((gt @ apart @ xt) * apart).sum() + strength * 0.5 * ((gs @ change @ xs) * change).sum()
