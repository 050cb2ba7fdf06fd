"""Layers that hold their weight as (d_in, d_out), as GPT-2 does, against the same model with plain linear layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from lalora import LaloraError
from lalora.methods.corda import Corda
from lalora.methods.flat_lora import FlatLora
from lalora.methods.milora import Milora
from tiny import VOCABULARY, collate, rows

TARGETS = ["c_attn", "c_fc"]  # of other widths in and out


def pair_of_models() -> tuple[PeftModel, PeftModel]:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    transposed = GPT2LMHeadModel(config).eval()
    plain = copy.deepcopy(transposed)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Conv1D):
                linear = nn.Linear(*layer.weight.shape)
                linear.weight.data, linear.bias.data = layer.weight.data.T.contiguous(), layer.bias.data.clone()
                setattr(parent, name, linear)
    made = []
    for base, turned in ((transposed, True), (plain, False)):
        torch.manual_seed(1)
        made.append(get_peft_model(base, LoraConfig(r=2, target_modules=TARGETS, fan_in_fan_out=turned)))
    return made[0], made[1]


def logits(model: PeftModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9)[None]).logits


def weights(model: PeftModel) -> dict[str, torch.Tensor]:
    return {
        name: module.base_layer.weight.data.T
        if isinstance(module.base_layer, Conv1D)
        else module.base_layer.weight.data
        for name, module in model.named_modules()
        if hasattr(module, "base_layer")
    }


METHODS: dict[str, Callable[[], Any]] = {"milora": Milora, "corda": Corda}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_start_that_replaces_weights(method: Callable[[], Any]) -> None:
    turned, plain = pair_of_models()
    before, untouched = logits(turned), {name: weight.clone() for name, weight in weights(turned).items()}
    chosen = method(), method()
    for model, one in zip((turned, plain), chosen, strict=True):
        one.prepare(model, {"a": [collate(rows(6))]})
    torch.testing.assert_close(logits(turned), before, rtol=1e-4, atol=1e-4)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(turned)[name], weight, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(weight, untouched[name], atol=1e-3)
    chosen[0].restore(turned)
    for name, weight in weights(turned).items():
        assert torch.equal(weight, untouched[name])


def test_noise_on_rows() -> None:
    turned, plain = pair_of_models()
    untouched = {name: weight.clone() for name, weight in weights(turned).items()}
    methods = FlatLora(0.1), FlatLora(0.1)
    for model, one in zip((turned, plain), methods, strict=True):
        one.prepare(model, {})
        one.before_forward(model, 3, 4)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(turned)[name], weight)
        assert not torch.equal(weight, untouched[name])
    torch.testing.assert_close(logits(turned), logits(plain), rtol=1e-4, atol=1e-4)
    methods[0].after_backward(turned, 0, 1.0)
    for name, weight in weights(turned).items():
        assert torch.equal(weight, untouched[name])


@pytest.mark.parametrize("method", [Milora, FlatLora])
def test_weights_that_are_offloaded_are_named(method: Callable[[], Any]) -> None:
    _, plain = pair_of_models()
    layer = plain.get_base_model().transformer.h[1].mlp.c_fc
    layer.base_layer.weight = nn.Parameter(layer.base_layer.weight.to("meta"), requires_grad=False)
    with pytest.raises(LaloraError, match=r"needs the base weights in memory, and that of '.*h\.1\.mlp\.c_fc'"):
        method().prepare(plain, {})
