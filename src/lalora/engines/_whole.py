"""Whole values of parameters of which each process may hold a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from lalora.engines._zero import is_partitioned, partitions_gathered
from lalora.errors import LaloraError


def is_part(tensor: object) -> TypeGuard[Tensor]:
    """Tell whether a process holds a part of a tensor only."""
    return isinstance(tensor, DTensor) or is_partitioned(tensor)


def whole(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Assemble tensors, detached; one that lies here as a whole is not copied."""
    with partitions_gathered(tensors):
        # What was gathered is gone when the context ends.
        return [
            tensor.full_tensor().detach()
            if isinstance(tensor, DTensor)
            else tensor.detach().clone()
            if is_partitioned(tensor)
            else tensor.detach()
            for tensor in tensors
        ]


def whole_named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Assemble tensors as `whole` does, each by its name."""
    return dict(zip(tensors, whole(list(tensors.values())), strict=True))


def whole_shape(tensor: Tensor) -> tuple[int, ...]:
    """Tell the shape of a tensor as a whole."""
    # Under ZeRO-3 what is here is empty, and the engine wrote down what it was.
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def differentiable(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Assemble parameters within the graph; each process gets the gradient of its part.

    Raises:
        LaloraError: Under ZeRO-3, where a parameter is gathered for its own layer's forward pass alone.
    """
    if not torch.is_grad_enabled():
        return whole(tensors)
    if any(map(is_partitioned, tensors)):
        raise LaloraError(
            "ZeRO-3 keeps a part of each parameter in each process, and no loss reaches them: call "
            "laplace.add_gradient(engine.module, strength) between engine.backward(loss) and engine.step()"
        )
    return [tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


@torch.no_grad()
def write(parameter: Tensor, value: Tensor) -> None:
    """Set a parameter to a value that every process has as a whole."""
    if isinstance(parameter, DTensor):
        parameter.to_local().copy_(own_part(value, parameter))
        return
    with partitions_gathered([parameter], written=True):
        parameter.copy_(value)


def own_part(value: Tensor, like: DTensor) -> Tensor:
    """Cut out what this process holds of a tensor that is laid out as another."""
    # Without a source rank nothing is sent: every process has the whole.
    laid_out = distribute_tensor(
        value.to(like.device, like.dtype), like.device_mesh, like.placements, src_data_rank=None
    )
    return laid_out.to_local()
