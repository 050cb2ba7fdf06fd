"""The frozen weights under an adapter, for methods that change them."""

from __future__ import annotations

from peft import PeftModel
from torch import nn

from lalora.adapter import LinearPair, lora_layers
from lalora.errors import LaloraError


def base_weight(model: nn.Module, pair: LinearPair) -> nn.Parameter:
    """Look up W₀.

    Args:
        model: The PEFT model.
        pair: A layer of it.

    Returns:
        The weight, (d_out, d_in).
    """
    weight = model.get_submodule(pair.layer).get_base_layer().weight  # type: ignore[operator]
    assert isinstance(weight, nn.Parameter)
    return weight


def require_plain(model: PeftModel, pairs: list[LinearPair], method: str) -> None:
    """Refuse adapters that change anything else than plain linear layers.

    Args:
        model: The PEFT model.
        pairs: Its linear layers.
        method: Name of the method, for the message.

    Raises:
        LaloraError: If a layer is another kind of adapter.
    """
    if len(pairs) < len(lora_layers(model)) or not all(pair.plain for pair in pairs):
        raise LaloraError(f"method '{method}' needs an adapter of plain linear LoRA layers alone")


def require_floating(model: nn.Module, pairs: list[LinearPair], method: str) -> None:
    """Refuse quantised weights.

    Args:
        model: The PEFT model.
        pairs: Its layers.
        method: Name of the method, for the message.

    Raises:
        LaloraError: If a weight is not floating point.
    """
    for pair in pairs:
        dtype = base_weight(model, pair).dtype
        if not dtype.is_floating_point:
            raise LaloraError(
                f"method '{method}' needs the base weights in floating point, and that of '{pair.layer}' is quantised "
                f"({dtype}): load the model in bfloat16 or float32"
            )
