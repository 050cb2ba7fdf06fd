"""Where the layers of an adapter stand, and which layers of a bare model an adapter would have."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import ParamWrapper
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND
from torch import nn

from lalora.adapter import adapter_tensors, linear_pairs, lora_layers, name_in_base, name_in_peft
from lalora.curvature import FITTED, Anchor, Curvature, WeightSpace
from lalora.engines import whole
from lalora.errors import LaloraError, first_of, first_sentence, warn
from lalora.laplace._same_base import require_in_memory
from lalora.undisturbed import trainability_kept

_BESIDE_LAYERS = ("modules_to_save", "trainable_tokens", "lora_embedding_")


def anchors_of(model: PeftModel, curvature: str) -> dict[str, Anchor]:
    """Copy A, B and s of every layer.

    Saved modules, new token rows, adapted embeddings and bare parameters (experts, routers) are no linear layers: a
    curvature in weight space leaves them free, which a warning says.
    """
    tensors = adapter_tensors(model)
    pairs = [pair for pair in linear_pairs(model) if pair.plain and pair.a in tensors and pair.b in tensors]
    served = {name for pair in pairs for name in (pair.a, pair.b)}
    left = [name for name in tensors if name not in served]
    bare_parameters = [name for name, layer in lora_layers(model).items() if isinstance(layer, ParamWrapper)]
    free = (*_BESIDE_LAYERS, *(f"{name}.lora_" for name in bare_parameters))
    in_weight_space = issubclass(FITTED.get(curvature, Curvature), WeightSpace)
    for name in left:
        if not (in_weight_space and pairs and any(kind in name for kind in free)):
            raise LaloraError(
                f"'{curvature}' serves plain linear LoRA layers only, with A and B both trainable, not '{name}': use "
                "curvature='diagonal'"
            )
    if left:
        tell_of_free(left)
    downs, ups = whole([pair.down.weight for pair in pairs]), whole([pair.up.weight for pair in pairs])
    return {
        pair.layer: Anchor.of(down.cpu().clone(), up.cpu().clone(), pair.scaling)
        for pair, down, up in zip(pairs, downs, ups, strict=True)
    }


def tell_of_free(names: Sequence[str]) -> None:
    """Warn of what training may move without a penalty."""
    warn(
        f"the penalty leaves {first_of(names)} free: a curvature in weight space knows of linear LoRA layers only; "
        "curvature='diagonal' holds everything",
    )


def target_layers(base: nn.Module, target_modules: str | Sequence[str], curvature: str) -> dict[str, nn.Module]:
    """Find the layers that LoRA with `target_modules` would adapt, as PEFT itself chooses them."""
    with copy_with_adapter(base, target_modules, 1) as adapted:
        for name, layer in lora_layers(adapted).items():
            require_in_memory(name_in_base(name), getattr(layer.get_base_layer(), "weight", None))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is left is told below, by the names that it has in the base
            names = anchors_of(adapted, curvature)
        left = [name for name in lora_layers(adapted) if name not in names]
        if target_modules == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            left += [name_in_peft(name) for name, parameter in base.named_parameters() if parameter.dim() == 3]
        if left:
            tell_of_free(left)
    return {name: base.get_submodule(name_in_base(name)) for name in names}


@contextmanager
def copy_with_adapter(
    base: nn.Module, target_modules: str | Sequence[str], rank: int
) -> Generator[PeftModel, None, None]:
    """Put a fresh adapter on a copy of the modules of a base model, which shares its tensors.

    Raises:
        LaloraError: If PEFT finds no such layers.
    """
    # PEFT changes the model that it is given, and freezes its tensors.
    chosen = target_modules if isinstance(target_modules, str) else list(target_modules)
    shared = {id(tensor): tensor for tensor in [*base.parameters(), *base.buffers()]}
    with trainability_kept(base):
        try:
            adapted = get_peft_model(copy.deepcopy(base, shared), LoraConfig(r=rank, target_modules=chosen))
        except ValueError as error:
            raise LaloraError(f"target_modules={chosen!r}: {first_sentence(error)}") from error
        yield adapted
