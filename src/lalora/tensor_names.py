"""What the tensors of a LoRA layer are called, whatever the adapter's own name."""

from __future__ import annotations


def a_name(layer: str) -> str:
    """Name the weight of A of a layer."""
    return f"{layer}.lora_A.weight"


def b_name(layer: str) -> str:
    """Name the weight of B of a layer."""
    return f"{layer}.lora_B.weight"
