"""MIGU's masks against magnitudes worked out position by position."""

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from lalora import LaloraError, methods
from lalora.adapter import linear_pairs, trainable_tensors
from lalora.completion import completion
from tiny import Batch, batches, lora, rows

BATCHES = batches(rows(5), 3)


def magnitudes(model: PeftModel, seen: list[Batch]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    handles = []
    for pair in linear_pairs(model):
        for name, module in ((pair.a, pair.down), (pair.b, pair.up)):

            def watch(module: torch.nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
                for position in output[0].detach():
                    size = position.abs()
                    share = size / size.sum() if size.sum() > 0 else size
                    found[name] = found[name] + share if name in found else share

            handles.append(module.register_forward_hook(watch))
    for batch in seen:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            model(input_ids=ids[mask.bool()][None])
    for handle in handles:
        handle.remove()
    return found


def backward(model: PeftModel) -> None:
    for batch in BATCHES:
        seen = completion(model, batch)
        torch.nn.functional.cross_entropy(seen.logits, seen.targets, reduction="sum").backward()


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_masked_rows_do_not_move_and_the_others_do(threshold: float) -> None:
    model = lora(b_scale=0.3).train()
    method = methods.build("migu", threshold=threshold)
    method.prepare(model, {})
    tensors = trainable_tensors(model)
    optimizer = torch.optim.AdamW(tensors.values(), lr=0.1, weight_decay=0.5)
    # Every weight gets momentum first.
    for tensor in tensors.values():
        tensor.grad = torch.ones_like(tensor)
    optimizer.step()
    optimizer.zero_grad()
    wanted = magnitudes(model.eval(), BATCHES)
    model.train()
    backward(model)
    method.after_backward(model, 0, 1.0)
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    optimizer.step()
    method.after_step(model)
    for name, tensor in tensors.items():
        moved = (tensor.detach() != before[name]).any(dim=1)
        ranked = wanted[name].argsort()
        # The rows at the quantile itself may change places by rounding; it lies between two rows.
        position = threshold * (len(ranked) - 1)
        assert not moved[ranked[: int(position)]].any(), name
        assert moved[ranked[int(position) + 1 :]].all(), name


def test_in_the_first_step_b_trains_whole() -> None:
    model = lora().train()
    method = methods.build("migu", threshold=0.9)
    method.prepare(model, {})
    backward(model)
    before = {name: tensor.grad.clone() for name, tensor in trainable_tensors(model).items()}
    method.after_backward(model, 0, 1.0)
    for name, tensor in trainable_tensors(model).items():
        if "lora_B" in name:
            assert torch.equal(tensor.grad, before[name])


def test_measuring_in_between_counts_nowhere() -> None:
    model = lora(b_scale=0.3).train()
    method = methods.build("migu", threshold=0.5)
    method.prepare(model, {})
    model.eval()
    with torch.no_grad():
        model(**{name: BATCHES[0][name] for name in ("input_ids", "attention_mask")})
    model.train()
    for tensor in trainable_tensors(model).values():
        tensor.grad = torch.ones_like(tensor)
    method.after_backward(model, 0, 1.0)
    assert all((tensor.grad == 1).all() for tensor in trainable_tensors(model).values())


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(LaloraError, match="threshold must be"):
        methods.build("migu", threshold=threshold)
