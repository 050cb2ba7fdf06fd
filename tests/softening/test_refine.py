"""Steps without labels from a trained adapter, before it is softened."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from torch import Tensor

import lalora
from lalora import LaloraError
from lalora.adapter import linear_pairs
from lalora.scoring import score_text
from lalora.softening._refine import refine
from tiny import Batch, batches, lora, rows, shake

SOURCE = {"a": batches(rows(6), 3), "b": batches(rows(2, seed=3), 2)}
TARGET = {"target": batches(rows(5, seed=9), 3)}


def trained(dtype: torch.dtype = torch.float32) -> PeftModel:
    model = lora(b_scale=0.3, lora_dropout=0.2, dtype=dtype)
    shake(model, 0.2)
    model.train()
    return model


def divergence(known: Tensor, found: Tensor, labels: Tensor) -> Tensor:
    """Σ p (ln p − ln q) over completion tokens, averaged."""
    shown = labels[:, 1:] != -100
    p, q = (logits[:, :-1][shown].log_softmax(-1) for logits in (known, found))
    return (p.exp() * (p - q)).sum(-1).mean()


def test_it_is_adamw_on_both_divergences() -> None:
    """Three models side by side, each batch in its turn, in float64."""
    model = trained(torch.float64)
    before, base, naive = (copy.deepcopy(model).eval() for _ in range(3))
    for pair in linear_pairs(base):
        torch.nn.init.zeros_(pair.up.weight)
    refine(model, TARGET, SOURCE, steps=3, strength=2.0, learning_rate=0.01)

    def logits(one: PeftModel, batch: Batch) -> Tensor:
        found: Tensor = one(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return found

    weights = [weight for pair in linear_pairs(naive) for weight in (pair.up.weight, pair.down.weight)]
    optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.0)
    turns = [SOURCE["a"][0], SOURCE["b"][0], SOURCE["a"][1]]
    for step, other in enumerate(turns):
        own = TARGET["target"][step % 2]
        optimizer.zero_grad()
        loss = divergence(logits(before, own).detach(), logits(naive, own), own["labels"])
        loss = loss + 2.0 * divergence(logits(base, other).detach(), logits(naive, other), other["labels"])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 3)
        optimizer.step()
    for pair, expected in zip(linear_pairs(model), linear_pairs(naive), strict=True):
        assert torch.allclose(pair.up.weight, expected.up.weight, atol=1e-9, rtol=0)
        assert torch.allclose(pair.down.weight, expected.down.weight, atol=1e-9, rtol=0)


def test_a_front_of_it_begins_nearer_to_the_base_and_leaves_the_model_alone() -> None:
    model = trained()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    front = lalora.soften(model, TARGET, source=SOURCE, refine_steps=20, progress=False)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()} == flags
    assert model.training
    held = [*SOURCE["a"], *SOURCE["b"]]
    drifts = [score_text(model, held).kl]
    front.apply(model, 0.0)
    drifts.append(score_text(model, held).kl)
    assert drifts[1] < 0.9 * drifts[0]
    again = lalora.soften(trained(), TARGET, source=SOURCE, refine_steps=20, progress=False)
    assert again.predict(1.0) == front.predict(1.0)


def test_gradients_that_are_there_already_count_nowhere_and_stay() -> None:
    model, clean = trained(), trained()
    model(**TARGET["target"][0]).loss.backward()
    before = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    assert before
    fronts = [lalora.soften(one, TARGET, source=SOURCE, refine_steps=3, progress=False) for one in (model, clean)]
    assert fronts[0].predict(1.0) == fronts[1].predict(1.0)
    assert all(torch.equal(before[name], dict(model.named_parameters())[name].grad) for name in before)


def test_without_source_rows_it_is_refused() -> None:
    laplace = lalora.fit(lora(), SOURCE, curvature="weight-kfac", progress=False)
    with pytest.raises(LaloraError, match="give source=, not a Laplace"):
        lalora.soften(trained(), TARGET, laplace, refine_steps=2, progress=False)
