"""Gradients of parameters, wherever an engine keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lalora.engines._whole import own_part
from lalora.engines._zero import full_gradient, is_of_zero, set_full_gradient


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """List the gradients of those that have one; a part of each where they are sharded by FSDP2."""
    found = [
        full_gradient(parameter) if parameter.requires_grad and is_of_zero(parameter) else parameter.grad
        for parameter in parameters
    ]
    return [gradient for gradient in found if gradient is not None]


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Compute the norm of all entries of tensors, each as a whole."""
    norm = nn.utils.get_total_norm(tensors)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def add_to_gradients(parameters: Sequence[nn.Parameter], values: Sequence[Tensor], weight: float) -> None:
    """Add values, which every process has as a whole, times a weight."""
    into, added = [], []
    for parameter, value in zip(parameters, values, strict=True):
        if is_of_zero(parameter):
            gradient = full_gradient(parameter)
            set_full_gradient(parameter, gradient.add(value.to(gradient.dtype), alpha=weight))
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradient = parameter.grad
        if isinstance(gradient, DTensor):
            into.append(gradient.to_local())
            added.append(own_part(value, gradient))
        else:
            into.append(gradient)
            added.append(value.to(gradient.dtype))
    if into:
        torch._foreach_add_(into, added, alpha=weight)
