"""Plain LoRA (Hu et al., 2021)."""

from lalora.engines import FSDP2, ZERO
from lalora.methods.base import Method


class Lora(Method):
    """Plain LoRA: the target loss and nothing else."""

    name = "lora"
    label = "LoRA"
    citation = "Hu et al., 2021"
    engines = (FSDP2, ZERO)
    grid = (0.0005, 0.001, 0.002)
