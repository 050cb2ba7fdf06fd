"""Measure a model without a trace."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Generator[None, None, None]:
    """Evaluate without dropout and gradients, then bring modes, trainability and random state back.

    Args:
        model: The model that is measured.

    Yields:
        Nothing; the model is ready.
    """
    modes = [(module, module.training) for module in model.modules()]
    # PEFT makes a whole adapter trainable when it switches it on again, frozen parts included.
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = {parameter.device.index for parameter, _ in trainable if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            for parameter, requires_grad in trainable:
                parameter.requires_grad_(requires_grad)
            for module, training in modes:
                module.training = training
