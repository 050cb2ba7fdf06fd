"""The penalty on KL(base ‖ model) against its formula in float64."""

import copy

import pytest
import torch

from lalora import LaloraError, methods
from lalora.adapter import trainable_tensors
from lalora.methods.kl import kl_to_base
from tiny import batches, lora, rows, shake

SOURCES = {"arc": batches(rows(3), 3), "hella": batches(rows(4, seed=2), 2)}


def by_formula(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """A row at a time, without padding, both models in float64."""
    wide = copy.deepcopy(model).double()
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        shown = mask.bool()
        with wide.disable_adapter(), torch.no_grad():
            base = wide(input_ids=ids[shown][None]).logits[0, :-1].double().softmax(-1)
        tuned = wide(input_ids=ids[shown][None]).logits[0, :-1].double().softmax(-1)
        for position, label in enumerate(labels[shown][1:]):
            if label != -100:
                total = total + (base[position] * (base[position] / tuned[position]).log()).sum()
                tokens += 1
    return total / tokens


def test_it_is_zero_at_the_start() -> None:
    assert kl_to_base(lora(), SOURCES["arc"][0]).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("batch", [batch for batches_ in SOURCES.values() for batch in batches_])
def test_it_is_the_formula(batch: dict[str, torch.Tensor]) -> None:
    model = lora()
    shake(model, 0.3)
    assert kl_to_base(model, batch).item() == pytest.approx(by_formula(model, batch).item(), rel=1e-4)


def test_dropout_is_no_kl_to_base() -> None:
    model = lora(lora_dropout=0.5).train()
    shake(model, 0.3)
    assert kl_to_base(model, SOURCES["arc"][0]).item() == kl_to_base(model.eval(), SOURCES["arc"][0]).item()
    model.train()
    kl_to_base(model, SOURCES["arc"][0])
    assert all(module.training for module in model.modules())


def test_its_gradient_is_added_where_it_is_time() -> None:
    model = lora()
    shake(model, 0.3)
    method = methods.build("kl", strength=0.5, every=2)
    method.prepare(model, SOURCES)
    tensors = list(trainable_tensors(model).values())
    order = [SOURCES["arc"][0], SOURCES["hella"][0], SOURCES["hella"][1]]
    for step in range(8):
        for tensor in tensors:
            tensor.grad = None
        method.after_backward(model, step, 4.0)
        if step % 2:
            assert all(tensor.grad is None for tensor in tensors)
        else:
            wanted = torch.autograd.grad(kl_to_base(model, order[step // 2 % 3]), tensors)
            for tensor, gradient in zip(tensors, wanted, strict=True):
                assert torch.allclose(tensor.grad, 4 * gradient, atol=1e-6)


def test_what_was_frozen_stays_frozen() -> None:
    model = lora()
    frozen = [parameter for name, parameter in model.named_parameters() if "lora_A" in name]
    for parameter in frozen:
        parameter.requires_grad_(False)
    kl_to_base(model, SOURCES["arc"][0])
    assert not any(parameter.requires_grad for parameter in frozen)


def test_strength_zero_does_nothing() -> None:
    model = lora()
    method = methods.build("kl", strength=0.0)
    method.prepare(model, SOURCES)
    shake(model)
    method.after_backward(model, 0, 1.0)
    assert all(tensor.grad is None for tensor in trainable_tensors(model).values())


@pytest.mark.parametrize(
    ("knobs", "message"), [({"strength": -1.0}, "strength must be "), ({"every": 0}, "every must be ")]
)
def test_knobs_out_of_range(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        methods.build("kl", **knobs)


def test_without_source_text_it_cannot_work() -> None:
    with pytest.raises(LaloraError, match="method 'kl' needs source text"):
        methods.build("kl").prepare(lora(), {})
