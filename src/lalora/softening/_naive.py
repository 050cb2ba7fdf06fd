"""The same by the definition: dense matrices, vec and Kronecker products written out. For tests and small layers."""

from __future__ import annotations

import torch
from torch import Tensor


def minimiser(trained: Tensor, target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], strength: float) -> Tensor:
    """Solve argmin_ΔW ½⟨G_t, (ΔW−ΔW₁) X_t (ΔW−ΔW₁)ᵀ⟩ + λ·½⟨G_s, ΔW X_s ΔWᵀ⟩ as one linear system.

    Args:
        trained: ΔW₁, (d_out, d_in).
        target: G_t and X_t.
        source: G_s and X_s.
        strength: λ ≥ 0.

    Returns:
        ΔW, (d_out, d_in).
    """
    of_target, of_source = torch.kron(*target), torch.kron(*source)  # of vec by rows: G ⊗ X
    found: Tensor = torch.linalg.solve(of_target + strength * of_source, of_target @ trained.flatten())
    return found.view_as(trained)


def objective(
    change: Tensor, trained: Tensor, target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], strength: float
) -> Tensor:
    """Compute what is minimised.

    Args:
        change: ΔW, (d_out, d_in).
        trained: ΔW₁.
        target: G_t and X_t.
        source: G_s and X_s.
        strength: λ ≥ 0.

    Returns:
        A scalar.
    """
    (gt, xt), (gs, xs), apart = target, source, change - trained
    return 0.5 * ((gt @ apart @ xt) * apart).sum() + strength * 0.5 * ((gs @ change @ xs) * change).sum()
