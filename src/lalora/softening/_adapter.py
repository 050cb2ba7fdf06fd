"""The adapter's weights: put softened ones in, scale it, set it to zero, and bring it back as it was."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn

from lalora.adapter import linear_pairs, lora_layers
from lalora.errors import LaloraError
from lalora.undisturbed import trainability_kept


def put(model: nn.Module, changes: Mapping[str, tuple[Float[Tensor, "d_out r"], Float[Tensor, "r d_in"]]]) -> None:
    """Write changes of weights, two factors of ΔW by layer, into the active adapter."""
    pairs = {pair.layer: pair for pair in linear_pairs(model)}
    if missing := sorted(set(changes) - set(pairs)):
        raise LaloraError(f"this front is of another adapter: the model has no adapted layer '{missing[0]}'")
    for name, (out, into) in changes.items():
        pair = pairs[name]
        _set(pair.up.weight, out, dim=1, scale=pair.scaling)
        _set(pair.down.weight, into, dim=0)


def keep_beside(model: PeftModel, name: str) -> None:
    """Copy the active adapter to another name; the active one stays active."""
    active = model.active_adapters[0]
    own = {pair.layer: (pair.up.weight, pair.down.weight) for pair in linear_pairs(model)}
    with trainability_kept(model):
        model.add_adapter(name, copy.deepcopy(model.peft_config[active]))
        model.set_adapter(name)
        with torch.no_grad():
            for pair in linear_pairs(model):
                for weight, kept in zip((pair.up.weight, pair.down.weight), own[pair.layer], strict=True):
                    weight.copy_(kept)
                    weight.requires_grad_(False)
        model.set_adapter(active)


@contextmanager
def unchanged(model: nn.Module) -> Generator[None, None, None]:
    """Bring the active adapter's weights back at the end."""
    kept = [
        (weight, weight.detach().clone())
        for pair in linear_pairs(model)
        for weight in (pair.up.weight, pair.down.weight)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in kept:
                weight.copy_(before)


@contextmanager
def held_at(weights: Sequence[Tensor], values: Sequence[Tensor]) -> Generator[None, None, None]:
    """Set weights to other values for as long as the context lasts."""
    kept = [weight.detach().clone() for weight in weights]
    try:
        _copy(weights, values)
        yield
    finally:
        _copy(weights, kept)


@contextmanager
def without_change(model: nn.Module) -> Generator[None, None, None]:
    """Set B of every layer to zero, so that the model computes what its base does."""
    with unchanged(model):
        with torch.no_grad():
            for pair in linear_pairs(model):
                pair.up.weight.zero_()
        yield


@contextmanager
def scaled(model: PeftModel, alpha: float) -> Generator[None, None, None]:
    """Multiply s of every LoRA layer, and so ΔW = s·BA of a plain one, by α: 0 is the base, 1 the adapter."""
    with scaled_by(model, dict.fromkeys(lora_layers(model), alpha)):
        yield


@contextmanager
def scaled_by(model: PeftModel, factors: Mapping[str, float]) -> Generator[None, None, None]:
    """Multiply s of each LoRA layer by a factor of its own."""
    layers = {name: layer for name, layer in lora_layers(model).items() if name in factors}
    before = {name: dict(layer.scaling) for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.scale_layer(factors[name])
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.scaling.update(before[name])


@torch.no_grad()
def _copy(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


@torch.no_grad()
def _set(weight: Float[Tensor, "m n"], found: Float[Tensor, "m2 n2"], dim: int, scale: float = 1.0) -> None:
    rank = min(weight.shape[dim], found.shape[dim])
    weight.zero_()
    weight.narrow(dim, 0, rank).copy_(found.narrow(dim, 0, rank) / scale)
