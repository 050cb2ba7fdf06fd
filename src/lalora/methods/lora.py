"""Plain LoRA (Hu et al., 2021)."""

from lalora.methods.base import Method


class Lora(Method):
    """Plain LoRA: the target loss and nothing else."""

    name = "lora"
