"""The frozen weights under an adapter, for methods that change them."""

from __future__ import annotations

from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lalora.adapter import LinearPair, linear_weight, lora_layers
from lalora.errors import LaloraError


def base_weight(model: nn.Module, pair: LinearPair) -> Tensor:
    """Look up W₀ in its own memory, (d_out, d_in), however the layer lays it out."""
    return linear_weight(_base_layer(model, pair))


def put_base_weight(model: nn.Module, pair: LinearPair, weight: Tensor) -> None:
    """Put another weight in the place of W₀, which stays as it is for whoever holds it."""
    layer = _base_layer(model, pair)
    layer.weight.data = weight.T if isinstance(layer, Conv1D) else weight


def _base_layer(model: nn.Module, pair: LinearPair) -> Any:
    return model.get_submodule(pair.layer).get_base_layer()  # type: ignore[operator]


def require_plain(model: PeftModel, pairs: list[LinearPair], method: str) -> None:
    """Refuse adapters that change anything else than plain linear layers."""
    if len(pairs) < len(lora_layers(model)) or not all(pair.plain for pair in pairs):
        raise LaloraError(f"method '{method}' needs an adapter of plain linear LoRA layers alone")


def require_floating(model: nn.Module, pairs: list[LinearPair], method: str) -> None:
    """Refuse quantised and offloaded weights."""
    for pair in pairs:
        weight = base_weight(model, pair)
        dtype = weight.dtype
        if weight.is_meta:
            raise LaloraError(
                f"method '{method}' needs the base weights in memory, and that of '{pair.layer}' is offloaded: load "
                "the model without offloading"
            )
        if not dtype.is_floating_point:
            raise LaloraError(
                f"method '{method}' needs the base weights in floating point, and that of '{pair.layer}' is quantised "
                f"({dtype}): load the model in bfloat16 or float32"
            )
