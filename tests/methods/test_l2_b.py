"""L2 on B against the gradient of its formula."""

import pytest
import torch

from lalora import LaloraError, methods
from lalora.adapter import snapshot, trainable_tensors
from tiny import lora, shake


@pytest.mark.parametrize("b_scale", [0.0, 0.3])
def test_its_gradient_is_that_of_the_squared_distance_of_b(b_scale: float) -> None:
    model = lora(b_scale=b_scale)
    method, start = methods.build("l2-b", strength=0.7), snapshot(model)
    method.prepare(model, {})
    shake(model)
    tensors = trainable_tensors(model)
    charge = sum(0.7 * (tensors[name] - start[name]).square().sum() for name in tensors if "lora_B" in name)
    wanted = torch.autograd.grad(charge, list(tensors.values()), allow_unused=True)
    method.after_backward(model, 8.0)
    method.after_backward(model, 8.0)
    for tensor, gradient in zip(tensors.values(), wanted, strict=True):
        if gradient is None:
            assert tensor.grad is None
        else:
            assert torch.allclose(tensor.grad, 16 * gradient)
    assert method.metrics(model)["penalty"] == pytest.approx(charge.item(), rel=1e-5)


def test_a_strength_below_zero_is_refused() -> None:
    with pytest.raises(LaloraError, match="strength must be a finite number"):
        methods.build("l2-b", strength=-1)
