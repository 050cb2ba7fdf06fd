"""Models of which each process holds a part: FSDP2 and DeepSpeed ZeRO. What is here is collective."""

from lalora.engines._gathered import gathered, is_sharded
from lalora.engines._gradients import add_to_gradients, gradients, total_norm
from lalora.engines._served import FSDP2, ZERO, engine_of
from lalora.engines._whole import differentiable, is_part, whole, whole_named, whole_shape, write
from lalora.engines._zero import before_step

__all__ = [
    "FSDP2",
    "ZERO",
    "add_to_gradients",
    "before_step",
    "differentiable",
    "engine_of",
    "gathered",
    "gradients",
    "is_part",
    "is_sharded",
    "total_norm",
    "whole",
    "whole_named",
    "whole_shape",
    "write",
]
