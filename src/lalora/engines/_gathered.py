"""A sharded model gathered for as long as something reads all of it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from lalora.engines._whole import is_part
from lalora.engines._zero import is_of_zero
from lalora.errors import LaloraError


def is_sharded(model: nn.Module) -> bool:
    """Tell whether each process holds a part of some parameter only."""
    return any(map(is_part, model.parameters()))


@contextmanager
def gathered(model: nn.Module) -> Generator[None, None, None]:
    """Hold the whole model in each process, so that each may run it over rows of its own, and let go of it after.

    What is written into its parameters meanwhile is lost.

    Raises:
        LaloraError: If it is sharded by tensor parallelism, or DeepSpeed trains it.
    """
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    reshards = [any(group.post_forward_mesh_info is not None for group in _groups(unit)) for unit in units]
    try:
        for unit in units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.set_reshard_after_backward(False, recurse=False)
            unit.set_requires_gradient_sync(False, recurse=False)
            unit.unshard()
        _require_whole(model)
        yield
    finally:
        for unit, reshard in zip(units, reshards, strict=True):
            unit.set_requires_gradient_sync(True, recurse=False)
            unit.set_reshard_after_backward(True, recurse=False)
            unit.set_reshard_after_forward(reshard, recurse=False)
            unit.reshard()
            for group in _groups(unit):
                for parameter in group.fsdp_params:
                    # Where gradients are reduced at another precision, what a pass left would go into the next step.
                    parameter.unsharded_accumulated_grad = None


def _groups(unit: FSDPModule) -> list[Any]:
    # Torch has no public way to ask for either of the two that are read here. Before 2.12 a unit had one group.
    state: Any = unit._get_fsdp_state()
    groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
    return [group for group in groups if group is not None]


def _require_whole(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        # Its hooks would take the gradients of a pass for those of the next step.
        if is_of_zero(parameter):
            raise LaloraError(
                "a model that DeepSpeed trains cannot be fitted: fit it before, or in a script without DeepSpeed, and "
                "load the Laplace here"
            )
        if isinstance(parameter, DTensor):
            raise LaloraError(
                f"'{name}' is split over processes by tensor parallelism, and the layers show a part of their rows "
                "only: fit, measure and soften without it"
            )
