"""Leave the model unchanged: modes, gradients, hooks, random state."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from lalora.undisturbed import evaluating, gradients_set_aside, trainability_kept


@contextmanager
def untouched(model: nn.Module, differentiate: list[nn.Parameter]) -> Generator[None, None, None]:
    """Put the model into the state that stage I needs and bring it back afterwards.

    Nothing runs in training mode: no dropout, embedding noise or dropped layer, wherever it is set. Layers that
    checkpoint their activations still do; they are in training mode while they decide that, and in no other moment.
    """
    parameters = list(model.parameters())
    checkpointed = [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    ]
    functions = [(module, module.__dict__.get("_gradient_checkpointing_func")) for module in checkpointed]
    devices = {parameter.device for parameter in parameters if parameter.device.type == "cuda"}
    with (
        torch.random.fork_rng(devices=[device.index for device in devices], enabled=True),
        torch.enable_grad(),
        trainability_kept(model),
        gradients_set_aside(parameters),
        evaluating(model),
    ):
        try:
            for layer in checkpointed:
                layer.training = True
                layer._gradient_checkpointing_func = partial(_checkpointed, layer)  # type: ignore[assignment]
            for parameter in parameters:
                parameter.requires_grad_(False)
            for parameter in differentiate:
                parameter.requires_grad_(True)
            yield
        finally:
            for layer, function in functions:
                if function is None:
                    layer.__dict__.pop("_gradient_checkpointing_func", None)
                else:
                    layer._gradient_checkpointing_func = function


def _checkpointed(layer: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    def quietly(*inputs: Any) -> Any:
        layer.training = False
        try:
            return forward(*inputs)
        finally:
            layer.training = True

    # The reentrant kind runs forward without gradients, where no hook can listen.
    return checkpoint(quietly, *inputs, use_reentrant=False)
