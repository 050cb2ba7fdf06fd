"""The penalty ½λΔᵀΛΔ as one node of the graph, with its gradient written down (λΛΔ where Λ is fixed)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lalora.curvature import Quadratic
from lalora.engines import add_to_gradients, whole_named


class Penalty(torch.autograd.Function):
    """½λΔᵀΛΔ of the adapter tensors that have curvature."""

    @staticmethod
    def forward(
        ctx: Any, curvature: Quadratic, means: Mapping[str, Tensor], strength: float, *parameters: Tensor
    ) -> Tensor:
        """Compute the value of θ for each of `curvature.names`, keeping the gradient for the backward pass."""
        delta = displacement(dict(zip(curvature.names, parameters, strict=True)), means)
        half, product = curvature.value_and_grad(delta)
        gradient = [product[name] for name in curvature.names]
        value = half * strength
        torch._foreach_mul_(gradient, strength)
        ctx.save_for_backward(*gradient)
        ctx.dtypes = [parameter.dtype for parameter in parameters]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient times that of the caller's loss with respect to the penalty, for each input."""
        gradients = (
            (gradient * weight.to(gradient.device)).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (None, None, None, *gradients)


def displacement(parameters: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute Δ = θ − μ, detached, at the precision of the curvature; a μ that is not there is zero."""
    delta = {
        name: parameter.to(torch.promote_types(parameter.dtype, torch.float32))
        for name, parameter in whole_named(parameters).items()
    }
    moved = [name for name in delta if name in means]
    if moved:
        differences = torch._foreach_sub([delta[name] for name in moved], [means[name] for name in moved])
        delta |= zip(moved, differences, strict=True)
    return delta


def add_gradient(
    curvature: Quadratic,
    parameters: Mapping[str, nn.Parameter],
    delta: Mapping[str, Tensor],
    strength: float,
    loss_scale: float,
) -> Tensor:
    """Add λΛΔ, times the factor that gradients carry, to the `.grad` of each tensor; return the norm of λΛΔ."""
    _, product = curvature.value_and_grad(delta)
    add_to_gradients(list(parameters.values()), [product[name] for name in parameters], strength * loss_scale)
    return nn.utils.get_total_norm(list(product.values())) * strength
