"""The penalty ½λΔᵀΛΔ as one node of the graph, with its gradient written down (λΛΔ where Λ is fixed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lalora.curvature import Curvature


class Penalty(torch.autograd.Function):
    """½λΔᵀΛΔ of the adapter tensors that have curvature."""

    @staticmethod
    def forward(
        ctx: Any, curvature: Curvature, means: Sequence[Tensor | None], strength: float, *parameters: Tensor
    ) -> Tensor:
        """Compute the value, keeping the gradient for the backward pass.

        Args:
            ctx: Autograd's context.
            curvature: Λ.
            means: μ for each of `curvature.names`; None where it is zero.
            strength: λ.
            *parameters: θ for each of `curvature.names`.

        Returns:
            A scalar.
        """
        delta = dict(zip(curvature.names, displacement(parameters, means), strict=True))
        half, product = curvature.half_quadratic_and_gradient(delta)
        gradient = [product[name] for name in curvature.names]
        value = half * strength
        torch._foreach_mul_(gradient, strength)
        ctx.save_for_backward(*gradient)
        ctx.dtypes = [parameter.dtype for parameter in parameters]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        """Return weight·gradient.

        Args:
            ctx: Autograd's context.
            weight: Gradient of the caller's loss with respect to the penalty.

        Returns:
            A gradient for each input of `forward`.
        """
        gradients = (
            (gradient * weight.to(gradient.device)).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (None, None, None, *gradients)


def displacement(parameters: Sequence[Tensor], means: Sequence[Tensor | None]) -> list[Tensor]:
    """Compute Δ = θ − μ at the precision of the curvature.

    Args:
        parameters: θ.
        means: μ; None where it is zero.

    Returns:
        Δ, detached; θ itself where μ is zero and the types agree.
    """
    delta = []
    for parameter, mean in zip(parameters, means, strict=True):
        value = parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32))
        delta.append(value if mean is None else value - mean)
    return delta
