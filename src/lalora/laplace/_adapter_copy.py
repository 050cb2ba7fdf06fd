"""A copy of an adapter as it is now."""

from __future__ import annotations

from torch import Tensor, nn

from lalora.adapter import adapter_tensors
from lalora.engines import whole


def mean_and_shapes(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """Copy the trainable tensors by name, without those that are zero everywhere; and tell the shape of each."""
    found = adapter_tensors(model)
    tensors = {name: value.cpu().clone() for name, value in zip(found, whole(list(found.values())), strict=True)}
    mean = {name: tensor for name, tensor in tensors.items() if bool(tensor.any())}
    return mean, {name: tuple(tensor.shape) for name, tensor in tensors.items()}
