"""Hold a model at another change of its weights than the adapter's, and never touch the base weights."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from lalora.adapter import linear_pairs
from lalora.errors import LaloraError
from lalora.softening import scaled, unchanged


@contextmanager
def with_changes(model: PeftModel, changes: Mapping[str, Float[Tensor, "d_out d_in"]]) -> Generator[None, None, None]:
    """Add x·ΔWᵀ in float32 to what layers give, in the place of the adapter; a layer without ΔW is the base's.

    Switched off, the adapter leaves the base as before.
    """
    layers = {pair.layer: model.get_submodule(pair.layer) for pair in linear_pairs(model)}
    if missing := sorted(set(changes) - set(layers)):
        raise LaloraError(f"the model has no adapted layer '{missing[0]}'")
    handles = []
    try:
        for name, change in changes.items():
            layer = layers[name]
            here = change.to(next(layer.parameters()).device, torch.float32)
            handles.append(layer.register_forward_hook(partial(_add, here)))
        with scaled(model, 0.0):
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def with_adapter(
    model: PeftModel, tensors: Mapping[str, tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"]]]
) -> Generator[None, None, None]:
    """Put other A and B of the same shape in the adapter's place, by layer; other layers keep theirs."""
    with unchanged(model):
        with torch.no_grad():
            for pair in linear_pairs(model):
                if pair.layer in tensors:
                    a, b = tensors[pair.layer]
                    pair.down.weight.copy_(a)
                    pair.up.weight.copy_(b)
        yield


def _add(change: Tensor, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if layer.disable_adapters:
        return None
    return (output + F.linear(inputs[0].to(change.dtype), change)).to(output.dtype)
