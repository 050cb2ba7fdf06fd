"""One forward pass without memory or arithmetic: the layers, what they read, and what backward needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from lalora.adapter import lora_layers, name_in_base
from lalora.errors import LaloraError, one_line
from lalora.planning._without_weights import without_weights


@dataclass(frozen=True)
class Traced:
    """What a model shows on rows of one length.

    Attributes:
        shapes: (d_out, d_in) by layer that an adapter would have.
        inputs: The first layer that reads the same input, by layer.
        weights: Number of weights of the model.
        weight_bytes: Their size.
        saved_bytes: What one batch keeps for its backward pass.
        vocabulary: Number of logits of a token.
    """

    shapes: Mapping[str, tuple[int, int]]
    inputs: Mapping[str, str]
    weights: int
    weight_bytes: int
    saved_bytes: int
    vocabulary: int

    @property
    def layer_weights(self) -> int:
        """Number of weights of these layers."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def sizes(self) -> list[int]:
        """The size of every Kronecker factor: an X for each input that is read, a G for each layer."""
        return [self.shapes[layer][1] for layer in sorted(set(self.inputs.values()))] + [
            out for out, _ in self.shapes.values()
        ]


def traced(
    config: PretrainedConfig,
    dtype: torch.dtype,
    target_modules: str | Sequence[str],
    adapter_rank: int | None,
    rows: int,
    length: int,
) -> Traced:
    """Run a model of this configuration, with an adapter unless the rank is None, over a batch on the meta device."""
    adapted = without_weights(config, dtype, target_modules, adapter_rank or 1, "the model")
    frozen = [parameter for parameter in adapted.parameters() if not parameter.requires_grad]
    count, size = sum(one.numel() for one in frozen), sum(one.nbytes for one in [*frozen, *adapted.buffers()])
    found = {name_in_base(name): layer for name, layer in lora_layers(adapted).items()}
    linear: dict[str, Any] = {name: layer.get_base_layer() for name, layer in found.items()}
    linear = {name: layer for name, layer in linear.items() if hasattr(layer, "in_features")}
    if not linear:
        raise LaloraError(f"target_modules={target_modules!r} names no linear layer of the model")
    shapes = {name: (int(one.out_features), int(one.in_features)) for name, one in linear.items()}
    with torch.device("meta"):
        if adapter_rank is None:
            layers: Mapping[str, Any] = linear
            passed = adapted.unload()
            passed.requires_grad_(False)
        else:
            layers, passed = {name: found[name] for name in linear}, adapted.get_base_model()
        inputs, saved = _passed(passed, layers, torch.zeros(rows, length, dtype=torch.long))
    return Traced(shapes, inputs, count, size, saved, int(config.get_text_config().vocab_size))


def _passed(model: Any, layers: Mapping[str, Any], ids: Tensor) -> tuple[dict[str, str], int]:
    owned = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Any] = {}
    first: dict[int, tuple[str, Tensor]] = {}
    inputs: dict[str, str] = {}

    def saved(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage  # held, so that no later one has its address
        return tensor

    def read(name: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs[name] = first.setdefault(id(given[0]), (name, given[0]))[0]
        # As in stage I, where the gradient at every output is listened to.
        if not output.requires_grad:
            output.requires_grad_(True)

    handles = [layer.register_forward_hook(partial(read, name)) for name, layer in layers.items()]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            # With a cache nobody looks for rows that are packed, which asks for real numbers.
            model.base_model(input_ids=ids, use_cache=True)
    except Exception as error:  # whatever the code of a model needs of real numbers
        raise LaloraError(
            f"{type(model).__name__} cannot be passed without its weights ({one_line(error)}): what a fit takes is not "
            "known before it runs"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return inputs, sum(storage.nbytes() for storage in kept.values())
