"""Where the layers of an adapter stand, and which layers of a bare model an adapter would have."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lalora.adapter import linear_pairs, trainable_tensors
from lalora.curvature import Anchor
from lalora.errors import LaloraError

_PREFIX = "base_model.model."


def anchors_of(model: PeftModel, curvature: str) -> dict[str, Anchor]:
    """Copy A, B and s of every layer.

    Args:
        model: A PEFT LoRA model.
        curvature: Kind of the curvature that they are for, for the message.

    Returns:
        Anchors by layer, on the CPU.

    Raises:
        LaloraError: If the adapter moves anything but plain linear LoRA layers.
    """
    tensors = trainable_tensors(model)
    pairs = [pair for pair in linear_pairs(model) if pair.plain and pair.a in tensors and pair.b in tensors]
    served = {name for pair in pairs for name in (pair.a, pair.b)}
    for name in tensors:
        if name not in served:
            raise LaloraError(
                f"'{curvature}' serves plain linear LoRA layers only, with A and B both trainable, not '{name}': use "
                "curvature='diagonal'"
            )
    return {
        pair.layer: Anchor.of(
            pair.down.weight.detach().cpu().clone(), pair.up.weight.detach().cpu().clone(), pair.scaling
        )
        for pair in pairs
    }


def target_layers(base: nn.Module, target_modules: str | Sequence[str], curvature: str) -> dict[str, nn.Module]:
    """Find the layers that LoRA with `target_modules` would adapt, as PEFT itself chooses them.

    Args:
        base: A model without an adapter, which stays as it is.
        target_modules: As in `peft.LoraConfig`.
        curvature: Kind of the curvature that they are for, for the message.

    Returns:
        Modules by the names that they have inside a PEFT model.

    Raises:
        LaloraError: If no module matches, or one that does is not linear.
    """
    chosen = target_modules if isinstance(target_modules, str) else list(target_modules)
    trainable = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    # PEFT changes the model that it is given: it gets the same tensors inside a copy of the modules.
    shared = {id(tensor): tensor for tensor in [*base.parameters(), *base.buffers()]}
    try:
        adapted = get_peft_model(copy.deepcopy(base, shared), LoraConfig(r=1, target_modules=chosen))
        names = anchors_of(adapted, curvature)
    except ValueError as error:
        reason = str(error).split(". ")[0]
        raise LaloraError(f"target_modules={chosen!r}: {reason}") from error
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
    return {name: base.get_submodule(name.removeprefix(_PREFIX)) for name in names}
