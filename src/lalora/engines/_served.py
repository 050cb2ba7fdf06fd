"""Which engine trains a model, and whether anything can be added to its gradients."""

from __future__ import annotations

from accelerate.state import AcceleratorState
from torch import nn

from lalora.engines._gathered import is_sharded
from lalora.errors import LaloraError

FSDP2 = "FSDP2"
ZERO = "DeepSpeed ZeRO"


def engine_of(state: AcceleratorState, model: nn.Module) -> str | None:
    """Name the engine that shards a model, or will once training begins; None without one.

    Raises:
        LaloraError: If it keeps gradients where nothing can be added to them.
    """
    fsdp, zero = getattr(state, "fsdp_plugin", None), getattr(state, "deepspeed_plugin", None)
    if fsdp is not None and getattr(fsdp, "fsdp_version", 1) != 2:
        raise LaloraError(
            "FSDP of version 1 flattens the adapter into one tensor with the base model: give fsdp_config "
            "{'fsdp_version': 2}"
        )
    if fsdp is not None and getattr(fsdp, "cpu_ram_efficient_loading", False):
        raise LaloraError(
            "cpu_ram_efficient_loading leaves the model empty in all processes but one until training begins, so that "
            "nothing can be checked or measured before: give fsdp_config {'cpu_ram_efficient_loading': False}"
        )
    if zero is not None and state.mixed_precision == "fp16":
        raise LaloraError("under fp16 DeepSpeed scales gradients by factors of its own: use bf16")
    if zero is not None:
        return ZERO
    return FSDP2 if fsdp is not None or is_sharded(model) else None
