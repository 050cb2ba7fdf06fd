"""DeepSpeed ZeRO, by what its engine puts on parameters; DeepSpeed is imported only where it is in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakMethod

from torch import Tensor


def is_partitioned(tensor: object) -> bool:
    """Tell whether ZeRO-3 keeps a part of a parameter in each process."""
    return hasattr(tensor, "ds_id")


def is_of_zero(parameter: Tensor) -> bool:
    """Tell whether its gradient is kept by ZeRO, of any stage."""
    return is_partitioned(parameter) or hasattr(parameter, "_hp_mapping")


def partitions_gathered(tensors: Sequence[Tensor], *, written: bool = False) -> AbstractContextManager[Any]:
    """Gather the parameters of ZeRO-3 among tensors for as long as the context lasts."""
    parted = [tensor for tensor in tensors if is_partitioned(tensor)]
    if not parted:
        return nullcontext()
    from deepspeed import zero

    # With a rank whose values count, what was written is cut into parts again.
    context: AbstractContextManager[Any] = zero.GatheredParameters(parted, modifier_rank=0 if written else None)
    return context


def full_gradient(parameter: Tensor) -> Tensor:
    """Assemble the gradient of a parameter, which is complete after the last backward pass."""
    from deepspeed.utils import safe_get_full_grad

    gradient: Tensor = safe_get_full_grad(parameter)
    return gradient


def set_full_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Replace it."""
    from deepspeed.utils import safe_set_full_grad

    safe_set_full_grad(parameter, gradient)


def before_step(optimizer: Any, act: WeakMethod[Callable[[], None]]) -> None:
    """Let a method act before each step of a ZeRO optimizer, where gradients are complete and not yet clipped.

    Accelerate lets the engine step within its last backward pass. The method's object is not kept alive; of two for one
    optimizer the later acts.
    """
    step = getattr(optimizer, "step_without_method", optimizer.step)

    def step_with_method(*args: Any, **kwargs: Any) -> Any:
        method = act()
        if method is not None:
            method()
        return step(*args, **kwargs)

    optimizer.step_without_method, optimizer.step = step, step_with_method
