"""Leave a model and the random state as they were: what a block changes is put back when it ends, also by an error."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Generator[None, None, None]:
    """Evaluate without dropout and gradients, then bring modes, trainability and random state back."""
    with random_state_kept(model), trainability_kept(model), evaluating(model), torch.no_grad():
        yield


@contextmanager
def evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Set the model to evaluation mode, then bring the mode of every module back."""
    with modes_kept(model):
        model.eval()
        yield


@contextmanager
def modes_kept(model: nn.Module) -> Generator[None, None, None]:
    """Bring the mode of every module, training or evaluation, back at the end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def trainability_kept(model: nn.Module) -> Generator[None, None, None]:
    """Bring `requires_grad` of every parameter back at the end."""
    # PEFT makes a whole adapter trainable when it switches it on again, frozen parts included.
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)


@contextmanager
def gradients_set_aside(parameters: Iterable[Tensor]) -> Generator[None, None, None]:
    """Begin without gradients, and bring those that were there back at the end."""
    kept = [(parameter, parameter.grad) for parameter in parameters]
    for parameter, _ in kept:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


@contextmanager
def random_state_kept(model: nn.Module) -> Generator[None, None, None]:
    """Bring the state of Python's, numpy's and torch's generators back at the end, on the devices of the model too."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = {parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
