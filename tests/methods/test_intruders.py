"""Intruder dimensions against their definition, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs
from tiny import llama, lora, shake


def reduced(removed: float, weight: Tensor, change: Tensor, rank: int) -> Tensor:
    """ΔW once the share of every intruder is taken away, at the given rank."""
    left, values, right = torch.linalg.svd(weight + change, full_matrices=False)
    known = torch.linalg.svd(weight, full_matrices=False)[0]
    new = (left.T @ known).abs().amax(dim=1)[:10] < 0.5
    intruders = (left[:, :10][:, new] * values[:10][new]) @ right[:10][new]
    if not new.any():
        return change
    u, s, v = torch.linalg.svd(change - removed * intruders, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


def test_it_takes_intruders_away_after_training() -> None:
    model = lora(dtype=torch.float64)
    shake(model, 3.0)
    pairs = linear_pairs(model)
    before = {pair.layer: pair.scaling * (pair.up.weight @ pair.down.weight).detach() for pair in pairs}
    base = dict(llama(dtype=torch.float64).named_modules())
    method = methods.build("intruders", removed=0.5)
    method.prepare(model, {})
    method.after_training(model)
    touched = 0
    for pair in linear_pairs(model):
        weight = base[pair.layer.removeprefix("base_model.model.")].weight.detach()
        ours = pair.scaling * (pair.up.weight @ pair.down.weight).detach()
        expected = reduced(0.5, weight, before[pair.layer], pair.down.weight.shape[0])
        touched += not torch.equal(expected, before[pair.layer])
        assert (ours - expected).norm() <= 1e-8 * before[pair.layer].norm()
    assert touched > 0
    assert list(model.peft_config) == ["default"]
    assert model.active_adapters == ["default"]


def test_nothing_removed_is_plain_lora_to_the_bit() -> None:
    model = lora()
    shake(model, 3.0)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    methods.build("intruders", removed=0.0).after_training(model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_what_it_cannot_reduce_is_refused_before_training() -> None:
    with pytest.raises(LaloraError, match="removed must be less than or equal to 1"):
        methods.build("intruders", removed=2.0)
    with pytest.raises(LaloraError, match="plain linear LoRA layers alone"):
        methods.build("intruders").prepare(lora(use_dora=True), {})
    model = lora(target_modules=["q_proj"])
    layer = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(LaloraError, match="method 'intruders' needs .* is quantised"):
        methods.build("intruders").prepare(model, {})
