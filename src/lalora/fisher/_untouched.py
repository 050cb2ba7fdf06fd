"""Leave the model as it came: modes, gradients, hooks, random state."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lalora.adapter import base_config


@contextmanager
def untouched(model: nn.Module, differentiate: list[nn.Parameter]) -> Generator[None, None, None]:
    """Put the model into the state that stage I needs and bring it back afterwards.

    Dropout is off. Activations are checkpointed if the model does so, which it can only without dropout since that
    happens in training mode.

    Args:
        model: The model.
        differentiate: The only parameters that get a gradient.

    Yields:
        Nothing; the model is ready.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    checkpointed = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    functions = [(module, module.__dict__.get("_gradient_checkpointing_func")) for module in checkpointed]
    devices = {parameter.device for parameter, _, _ in parameters if parameter.device.type == "cuda"}
    with (
        torch.random.fork_rng(devices=[device.index for device in devices], enabled=True),
        torch.enable_grad(),
    ):
        try:
            model.train(bool(checkpointed) and not _drops(model))
            for module in checkpointed:
                # The reentrant kind runs forward without gradients, where no hook can listen.
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]
            for parameter, _, _ in parameters:
                parameter.requires_grad_(False)
                parameter.grad = None
            for parameter in differentiate:
                parameter.requires_grad_(True)
            yield
        finally:
            for parameter, requires_grad, grad in parameters:
                parameter.requires_grad_(requires_grad)
                parameter.grad = grad
            for module, function in functions:
                if function is None:
                    module.__dict__.pop("_gradient_checkpointing_func", None)
                else:
                    module._gradient_checkpointing_func = function
            for module, training in modes:
                module.training = training


def _drops(model: nn.Module) -> bool:
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    if any(isinstance(module, kinds) and module.p > 0 for module in model.modules()):
        return True
    # Attention dropout is a function call; only the model's settings tell of it.
    settings = base_config(model).to_dict()
    return any(value for key, value in settings.items() if "dropout" in key or "pdrop" in key)
