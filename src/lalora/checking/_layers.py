"""Which layers of a model a fit listens to, and which it leaves out and why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lalora.adapter import adapter_tensors, base_model, has_adapter, name_in_base

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_MATRIX, _EXPERTS = 2, 3
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Group:
    """Layers of the same place, kind and shape in every block.

    Attributes:
        name: Their name, with * for the number of the block.
        kind: Their class.
        shape: Of the weight of each, (d_out, d_in) of linear ones; empty where a packed layer does not tell.
        count: How many there are.
        why: Why they are left out; empty for those that are listened to.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    count: int
    why: str = ""

    @property
    def weights(self) -> int:
        """Number of weights of all of them."""
        return self.count * math.prod(self.shape) if self.shape else 0

    def __str__(self) -> str:
        """Tell it in a line."""
        times = f"{self.count} × " if self.count > 1 else ""
        shape = "×".join(str(size) for size in self.shape) or "of a size that it does not tell"
        return f"{times}{self.name} ({self.kind}, {shape})" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class Layers:
    """The layers of a model with two-dimensional weights or larger ones.

    Attributes:
        heard: Those that a fit listens to.
        left_out: The others.
        rank: Rank of the adapter.
        adapter_weights: Number of weights of the adapter: the one that is there, or one of this rank on all of `heard`.
    """

    heard: tuple[Group, ...]
    left_out: tuple[Group, ...]
    rank: int
    adapter_weights: int

    @property
    def count(self) -> int:
        """Number of layers that are listened to."""
        return sum(group.count for group in self.heard)

    @property
    def weights(self) -> int:
        """Number of frozen weights that an adapter on them changes."""
        return sum(group.weights for group in self.heard)

    @property
    def factor_bytes(self) -> int:
        """Most bytes of the float32 Kronecker factors of all layers, as eigenvectors and eigenvalues, none left out."""
        linear = [group for group in self.heard if len(group.shape) == _MATRIX]
        return sum(4 * group.count * sum(size * size + size for size in group.shape) for group in linear)


def layers_of(model: nn.Module, chosen: Mapping[str, nn.Module], rank: int) -> Layers:
    """Group the layers by their names without numbers."""
    base: Any = base_model(model)
    heard: dict[tuple[Any, ...], int] = {}
    left: dict[tuple[Any, ...], int] = {}
    names = {name_in_base(name) for name in chosen}
    embedding = base.get_input_embeddings()
    for name, module in base.named_modules():
        for kind, shape, why in _weights(name, module, base, embedding, name in names):
            place = heard if not why else left
            key = (_NUMBER.sub("*", name), kind, shape, why)
            place[key] = place.get(key, 0) + 1
    listened = _groups(heard)
    own = sum(one.numel() for one in adapter_tensors(model).values()) if has_adapter(model) else None
    fresh = sum(group.count * rank * sum(group.shape) for group in listened)
    return Layers(listened, _groups(left), rank, fresh if own is None else own)


def _groups(counted: Mapping[tuple[Any, ...], int]) -> tuple[Group, ...]:
    return tuple(Group(name, kind, shape, count, why) for (name, kind, shape, why), count in counted.items())


def _weights(
    name: str, module: nn.Module, base: Any, embedding: nn.Module, chosen: bool
) -> list[tuple[str, tuple[int, ...], str]]:
    inner = module.get_base_layer() if isinstance(module, LoraLayer) else module
    kind = type(inner).__name__
    if chosen and isinstance(module, ParamWrapper):
        return [(kind, tuple(getattr(inner, module.parameter_name).shape), "")]
    if chosen:
        return [(kind, _linear_shape(inner), "")]
    # What belongs to an adapter is of no layer of its own.
    if ".lora_" in name or name.endswith(".base_layer"):
        return []
    found = []
    for _, parameter in module.named_parameters(recurse=False):
        if parameter.dim() >= _MATRIX:
            why = _why(module, parameter, base, embedding)
            found.append((kind, tuple(parameter.shape), why))
    return found


def _linear_shape(module: Any) -> tuple[int, ...]:
    # A packed weight has another shape than the matrix that it stands for.
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.out_features), int(module.in_features)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return ()
    return tuple(reversed(weight.shape)) if isinstance(module, Conv1D) else tuple(weight.shape)


def _why(module: nn.Module, parameter: Tensor, base: Any, embedding: Any) -> str:
    if module is base.get_output_embeddings():
        tied = parameter is getattr(embedding, "weight", None)
        return "the output head" + (", tied to the input embeddings" if tied else "")
    if isinstance(module, nn.Embedding):
        return "an embedding, no linear layer"
    if isinstance(module, _CONVOLUTIONS):
        return "a convolution: where it is adapted, only curvature='diagonal' serves it"
    if parameter.dim() == _EXPERTS:
        return "experts without modules of their own: adapt them with target_parameters and curvature='diagonal'"
    if isinstance(module, nn.Linear | Conv1D):
        return "not among target_modules"
    return "no linear layer"
