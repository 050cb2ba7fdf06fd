"""EWC-LoRA with the Fisher of its authors' code, against that Fisher and its penalty written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lalora import methods
from lalora.adapter import linear_pairs, trainable_tensors
from tiny import Batch, batches, llama, lora, rows, shake

# Two rows in each, as where the authors' weights of mini-batches are all alike.
TASKS = {"arc": batches(rows(6), 2), "hellaswag": batches(rows(4, seed=2), 2)}
LAMBDA = 7.0


def importance(tasks: dict[str, list[Batch]]) -> dict[str, Tensor]:
    """Ω = Σ over tasks of Σ over mini-batches of rows·(gradient of the mean loss on ΔW)² / all rows of the task."""
    base = llama(dtype=torch.float64).eval()
    weights = {
        name: module.weight
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    }
    omega: dict[str, Tensor] = {}
    for task in tasks.values():
        fisher = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        samples = 0
        for batch in task:
            logits = base(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
            # At ΔW = 0 the gradient on ΔW is that on W.
            for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                fisher[name] += gradient.square() * len(batch["input_ids"])
            samples += len(batch["input_ids"])
        for name, total in fisher.items():
            omega[name] = omega.get(name, 0) + total / samples
    return omega


def test_its_fisher_and_its_penalty_are_those_of_the_published_code() -> None:
    # s = 1, as in that code.
    model = lora(dtype=torch.float64, lora_alpha=3)
    method = methods.EwcLora(LAMBDA, fisher="batch", labels="data", combine="sum")
    method.prepare(model, TASKS)
    assert method.laplace is not None
    omega = importance(TASKS)
    found = method.laplace.curvature.tensors()
    for name, wanted in omega.items():
        ours = found[f"F/base_model.model.{name}"]
        assert (ours - wanted).abs().max() <= 1e-6 * wanted.max(), name

    shake(model)
    method.after_backward(model, 0, 1.0)
    gradients = {name: tensor.grad for name, tensor in trainable_tensors(model).items()}
    penalty = torch.zeros((), dtype=torch.float64)
    for pair in linear_pairs(model):
        a, b = (module.weight.detach().clone().requires_grad_() for module in (pair.down, pair.up))
        delta = b @ a
        term = LAMBDA / 2 * (omega[pair.layer.removeprefix("base_model.model.")] * delta**2).sum()
        penalty = penalty + term.detach()
        for name, wanted in zip((pair.a, pair.b), torch.autograd.grad(term, (a, b)), strict=True):
            ours = gradients[name]
            assert ours is not None
            assert (ours - wanted).abs().max() <= 1e-6 * wanted.abs().max(), name
    assert abs(method.laplace.penalty(model, LAMBDA).item() - penalty.item()) <= 1e-6 * penalty.item()


def test_by_default_it_is_another_fisher() -> None:
    model = lora(dtype=torch.float64, lora_alpha=3)
    method = methods.EwcLora(LAMBDA)
    method.prepare(model, TASKS)
    assert method.laplace is not None
    found = method.laplace.curvature.tensors()
    assert any(
        (found[f"F/base_model.model.{name}"] - wanted).abs().max() > 0.1 * wanted.max()
        for name, wanted in importance(TASKS).items()
    )
