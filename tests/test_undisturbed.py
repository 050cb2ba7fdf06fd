"""What a block changes is put back, also where it ends by an error."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from lalora.undisturbed import evaluating, modes_kept, random_state_kept, trainability_kept, undisturbed
from tiny import lora


def state(model: torch.nn.Module) -> list[Any]:
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    return [[module.training for module in model.modules()], trainable, torch.is_grad_enabled()]


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("kept", [undisturbed, modes_kept, evaluating, trainability_kept, random_state_kept])
def test_everything_is_put_back_after_an_error(kept: Any) -> None:
    model = lora().train()
    next(model.children()).eval()
    before = state(model)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    with pytest.raises(KeyError), kept(model):
        if kept in (undisturbed, modes_kept, evaluating):
            model.train()
        if kept in (undisturbed, trainability_kept):
            model.requires_grad_(True)
        if kept in (undisturbed, random_state_kept):
            drawn()
        raise KeyError
    assert state(model) == before
    assert drawn() == expected


def test_nothing_trains_while_a_model_is_measured() -> None:
    model = lora().train()
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_grad_enabled()
