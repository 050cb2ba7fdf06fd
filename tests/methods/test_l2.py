"""The L2 penalties against the gradients of their formulas."""

from collections.abc import Callable, Mapping

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs, snapshot, trainable_tensors
from tiny import lora, shake

Tensors = Mapping[str, Tensor]


def of_everything(model: PeftModel, now: Tensors, start: Tensors) -> Tensor:
    return torch.stack([(now[name] - start[name]).square().sum() for name in now]).sum()


def of_b(model: PeftModel, now: Tensors, start: Tensors) -> Tensor:
    return torch.stack([(now[name] - start[name]).square().sum() for name in now if "lora_B" in name]).sum()


def of_weights(model: PeftModel, now: Tensors, start: Tensors) -> Tensor:
    changes = [
        pair.scaling * (now[pair.b] @ now[pair.a] - start[pair.b] @ start[pair.a]) for pair in linear_pairs(model)
    ]
    return torch.stack([change.square().sum() for change in changes]).sum()


FORMULAS = {"l2": of_everything, "l2-b": of_b, "l2-weight": of_weights}


@pytest.mark.parametrize("b_scale", [0.0, 0.3])
@pytest.mark.parametrize(("name", "formula"), FORMULAS.items(), ids=FORMULAS)
def test_the_gradient_is_that_of_the_squared_distance(
    name: str, formula: Callable[[PeftModel, Tensors, Tensors], Tensor], b_scale: float
) -> None:
    model = lora(b_scale=b_scale)
    method, start = methods.build(name, strength=0.7), snapshot(model)
    method.prepare(model, {})
    assert method.metrics(model)["penalty"] == 0
    shake(model)
    tensors = trainable_tensors(model)
    charge = 0.7 * formula(model, tensors, start)
    wanted = torch.autograd.grad(charge, list(tensors.values()), allow_unused=True)
    for _ in range(2):
        method.after_backward(model, 0, 8.0)
    for tensor, gradient in zip(tensors.values(), wanted, strict=True):
        if gradient is None:
            assert tensor.grad is None
        else:
            assert torch.allclose(tensor.grad, 16 * gradient, rtol=1e-4, atol=1e-5)
    assert method.metrics(model)["penalty"] == pytest.approx(charge.item(), rel=1e-4)


@pytest.mark.parametrize("name", FORMULAS)
def test_strength_zero_changes_no_gradient(name: str) -> None:
    model = lora()
    method = methods.build(name, strength=0.0)
    method.prepare(model, {})
    shake(model)
    method.after_backward(model, 0, 1.0)
    assert all(tensor.grad is None for tensor in trainable_tensors(model).values())


@pytest.mark.parametrize("name", FORMULAS)
def test_a_strength_below_zero_is_refused(name: str) -> None:
    with pytest.raises(LaloraError, match="strength must be"):
        methods.build(name, strength=-1)


def test_a_merged_update_that_is_not_s_b_a_has_no_distance_in_weight_space() -> None:
    with pytest.raises(LaloraError, match="'l2-weight' serves plain linear LoRA layers only"):
        methods.build("l2-weight").prepare(lora(use_dora=True), {})
