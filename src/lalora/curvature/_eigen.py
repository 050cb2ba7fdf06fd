"""Eigenvectors of a symmetric positive semi-definite matrix: all of them, or the largest alone."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lalora.errors import LaloraError

_OVERSAMPLED = 32
_POWERS = 4
# From here on a few products with the matrix are cheaper than to decompose it.
_SMALL_PART = 1 / 4


def decomposed(
    matrix: Float[Tensor, "d d"], tolerance: float
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"], Bool[Tensor, " d"]]:
    """Decompose it; return eigenvalues, largest first, their vectors, and which are not zero to rounding."""
    if not bool(matrix.isfinite().all()):
        raise LaloraError("a Kronecker factor is not finite: the model gave NaN or infinite activations or gradients")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    return values, vectors, values > tolerance * values[:1].clamp(min=0)


def largest(
    matrix: Float[Tensor, "d d"], rank: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "d k"], Bool[Tensor, " k"]] | None:
    """Find the largest k eigenvalues by randomised subspace iteration; None where that is no cheaper than all.

    Halko, Martinsson and Tropp 2011 (arXiv 0909.4061), algorithm 4.4 and a Rayleigh-Ritz step: what is found lies in
    the span of M⁵Ω for a random Ω of k + 32 columns.
    """
    size, width = matrix.shape[0], rank + _OVERSAMPLED
    if width > _SMALL_PART * size:
        return None
    # The same at every fit, and no draw from the state of the caller.
    start = torch.randn(size, width, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    basis = torch.linalg.qr(matrix @ start.to(matrix.device)).Q
    for _ in range(_POWERS):
        basis = torch.linalg.qr(matrix @ basis).Q
    values, inner, shown = decomposed(basis.T @ matrix @ basis, torch.finfo(matrix.dtype).eps * size)
    return values[:rank], (basis @ inner)[:, :rank], shown[:rank]
