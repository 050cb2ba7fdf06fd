"""The noise of Flat-LoRA, and that the base never feels it."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs
from tiny import llama, lora, shake


def base_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_is_bit_identical_after_each_step(dtype: torch.dtype) -> None:
    model = lora(dtype=dtype)
    shake(model)
    method = methods.build("flat-lora", rho=0.3)
    method.prepare(model, {})
    before = {name: weight.clone() for name, weight in base_weights(model).items()}
    places = {name: weight.data_ptr() for name, weight in base_weights(model).items()}
    for step in range(4):
        method.before_forward(model, step, 4)
        noisy = [name for name, weight in base_weights(model).items() if not torch.equal(weight, before[name])]
        # Only adapted weights, and none in the first step, where the factor is zero.
        assert len(noisy) == (len(linear_pairs(model)) if step else 0)
        method.after_backward(model, 0, 1.0)
        for name, weight in base_weights(model).items():
            assert torch.equal(weight, before[name])
            assert weight.data_ptr() == places[name]


def test_the_noise_has_the_stated_norm_and_grows_with_the_cosine() -> None:
    model = get_peft_model(llama(hidden_size=128, intermediate_size=256), LoraConfig(target_modules="all-linear"))
    shake(model, 0.02)
    method = methods.build("flat-lora", rho=0.2)
    method.prepare(model, {})
    before = {name: weight.clone() for name, weight in base_weights(model).items()}
    for step, factor in ((5, 0.5), (10, 1.0)):
        method.before_forward(model, step, 10)
        assert factor == pytest.approx((1 - math.cos(math.pi * step / 10)) / 2)
        for pair in linear_pairs(model):
            clean = before[f"{pair.layer}.base_layer.weight"]
            noise = base_weights(model)[f"{pair.layer}.base_layer.weight"] - clean
            merged = (clean + pair.scaling * pair.up.weight @ pair.down.weight).detach()
            assert float(noise.norm() / merged.norm()) == pytest.approx(0.2 * factor, rel=0.05)
            rows = noise.norm(dim=1) / merged.norm(dim=1)
            assert float((rows / (0.2 * factor) - 1).abs().max()) < 0.4
        method.after_backward(model, 0, 1.0)


def test_the_noise_depends_on_seed_step_and_layer_alone() -> None:
    def noise(seed: int, step: int) -> torch.Tensor:
        model = lora()
        method = methods.build("flat-lora", rho=0.2, seed=seed)
        method.prepare(model, {})
        method.before_forward(model, step, 10)
        return torch.cat([weight.detach().flatten() for weight in base_weights(model).values()])

    assert torch.equal(noise(0, 3), noise(0, 3))
    assert not torch.equal(noise(0, 3), noise(1, 3))
    assert not torch.equal(noise(0, 3), noise(0, 7))


def test_a_quantised_base_is_refused() -> None:
    model = lora(target_modules=["q_proj"])
    layer = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(LaloraError, match="layers.0.self_attn.q_proj' is quantised .torch.int8.: load the model"):
        methods.build("flat-lora").prepare(model, {})


def test_an_adapter_without_plain_layers_and_a_negative_rho_are_refused() -> None:
    with pytest.raises(LaloraError, match="needs plain linear LoRA layers"):
        methods.build("flat-lora").prepare(lora(use_dora=True), {})
    with pytest.raises(LaloraError, match="rho must be"):
        methods.build("flat-lora", rho=-1)
