"""A copy of an adapter as it is now."""

from __future__ import annotations

from torch import Tensor, nn

from lalora.adapter import adapter_tensors
from lalora.engines import whole_named


def mean_and_shapes(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """Copy the trainable tensors by name, without those that are zero everywhere; and tell the shape of each."""
    tensors = {name: value.cpu().clone() for name, value in whole_named(adapter_tensors(model)).items()}
    mean = {name: tensor for name, tensor in tensors.items() if bool(tensor.any())}
    return mean, {name: tuple(tensor.shape) for name, tensor in tensors.items()}
