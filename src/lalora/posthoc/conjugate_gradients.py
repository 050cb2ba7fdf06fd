"""Conjugate gradients over matrices."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Float[Tensor, "m n"],
    start: Float[Tensor, "m n"],
    iterations: int,
    tolerance: float,
) -> Float[Tensor, "m n"]:
    """Solve product(X) = right for a symmetric product without negative eigenvalues.

    It ends after so many iterations, or where the residual is at most `tolerance` times the right side.
    """
    found = start.clone()
    residual = right - product(found)
    direction, size = residual.clone(), float(residual.double().square().sum())
    enough = (tolerance * float(right.double().norm())) ** 2
    for _ in range(iterations):
        if size <= enough:
            break
        along = product(direction)
        curvature = float((direction.double() * along).sum())
        if curvature <= 0:  # nothing is left but what rounding made of zero
            break
        step = size / curvature
        found.add_(direction, alpha=step)
        residual.sub_(along, alpha=step)
        before, size = size, float(residual.double().square().sum())
        direction.mul_(size / before).add_(residual)
    return found
