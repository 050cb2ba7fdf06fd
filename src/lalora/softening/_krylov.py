"""A small space that holds the solutions of every strength, to some thousandths of the objective and better."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lalora.softening._shrinkage import Shrunk

ROUNDS = 5
_SMALL = 256
_DEPENDENT = 1e-5


def extended_krylov(
    target: Shrunk, source: Shrunk, columns: Float[Tensor, "d r"], rounds: int = ROUNDS
) -> Float[Tensor, "d m"] | None:
    """Span the columns and what powers of T⁻¹S and S⁻¹T, both signs in turn, make of them.

    A solution is (T + λξS)⁻¹T of the columns for some numbers λξ, and such functions of T⁻¹S converge fast in this
    space (Druskin and Knizhnerman, 1998). Each round adds 2r orthonormal directions at most. T needs a floor above
    zero. None where it is as well to keep everything.
    """
    size, count = columns.shape
    if size <= _SMALL or 2 * count * (1 + 2 * rounds) >= size:
        return None
    basis = _new(columns, columns[:, :0])
    own = basis.shape[1]
    forward = backward = basis
    for _ in range(rounds):
        forward = _new(target.solve(source.times(forward)), basis)
        basis = torch.cat([basis, forward], dim=1)
        if source.floor > 0:
            backward = _new(source.solve(target.times(backward)), basis)
            basis = torch.cat([basis, backward], dim=1)
    return basis[:, own:]


def _new(block: Float[Tensor, "d r"], basis: Float[Tensor, "d m"]) -> Float[Tensor, "d new"]:
    # What of a block is not in the basis yet, orthonormal; twice, as the first time rounding leaves some of it.
    block = block / block.norm(dim=0).clamp_min(torch.finfo(block.dtype).tiny)
    for _ in range(2):
        block = block - basis @ (basis.T @ block)
        u, s, _ = torch.linalg.svd(block, full_matrices=False)
        block = u[:, s > _DEPENDENT]
    return block
