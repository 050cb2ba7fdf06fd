"""Names and weights of a PEFT model as its base has them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lalora.adapter import linear_weight, lora_layers, name_in_base, name_in_peft
from lalora.files import is_path
from tiny import lora


def test_names_go_both_ways() -> None:
    model = lora()
    base = model.get_base_model()
    for name, layer in lora_layers(model).items():
        assert base.get_submodule(name_in_base(name)) is layer
        assert name_in_peft(name_in_base(name)) == name
    assert name_in_base("model.layers.0") == "model.layers.0"


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), Conv1D(2, 3)])
def test_a_weight_is_its_own_memory_whatever_the_layout(layer: nn.Module) -> None:
    weight, x = linear_weight(layer), torch.randn(4, 3)
    assert weight.shape == (2, 3)
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias)
    weight.zero_()
    assert not layer.weight.any()


@pytest.mark.parametrize("text", [".", "./x", "/x/y", "~/x", "../a"])
def test_what_is_written_as_a_path(text: str) -> None:
    assert is_path(text)
    assert not is_path(f"owner{text}")
