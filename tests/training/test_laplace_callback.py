"""The penalty by a callback: the adapter that the mixin trains, also after a kill; what it cannot serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import lalora
from lalora import LaloraError, LaplaceCallback, LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows

Arguments = Callable[..., TrainingArguments]
SOURCE = {"arc": batches(rows(6), 2)}


def fitted(model: Any, curvature: str) -> lalora.Laplace:
    return lalora.fit(model, SOURCE, curvature=curvature, progress=False)


def by_callback(model: Any, args: TrainingArguments, laplace: lalora.Laplace, strength: float = 30.0) -> Trainer:
    callbacks: Any = [LaplaceCallback(laplace, strength)]
    return Trainer(model=model, args=args, train_dataset=rows(16, seed=5), data_collator=collate, callbacks=callbacks)


def farthest(one: Any, other: Any) -> float:
    ends = snapshot(one), snapshot(other)
    return max(float((tensor - ends[1][name]).abs().max()) for name, tensor in ends[0].items())


@pytest.mark.parametrize("curvature", ["diagonal", "weight-kfac"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_without_clipping_it_trains_the_adapter_of_the_mixin(
    curvature: str, accumulation: int, arguments: Arguments
) -> None:
    args = arguments(max_steps=10, max_grad_norm=0.0, gradient_accumulation_steps=accumulation)
    models = [lora(), lora()]
    laplace = fitted(models[0], curvature)
    by_callback(models[0], args, laplace).train()
    data: Any = {"train_dataset": rows(16, seed=5), "data_collator": collate}
    LaplaceTrainer(model=models[1], args=args, laplace=laplace, strength=30.0, **data).train()
    assert farthest(*models) < 3e-8
    assert farthest(models[0], lora()) > 1e-3


def test_clipping_leaves_the_penalty_alone(arguments: Arguments) -> None:
    model = lora()
    args = arguments(max_steps=1, max_grad_norm=1e-9, optim="sgd", learning_rate=1.0)
    laplace = fitted(model, "diagonal")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    before = snapshot(model)
    expected = fitted(lora(), "diagonal")
    loss = expected.penalty(model, 30.0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    with pytest.warns(UserWarning, match="the adapter is not where this Laplace was fitted"):
        by_callback(model, args, laplace).train()
    after = snapshot(model)
    for name, gradient in zip(before, gradients, strict=True):
        moved = before[name] - after[name]
        assert torch.allclose(moved, torch.zeros_like(moved) if gradient is None else gradient, atol=1e-6), name


def test_a_resumed_run_goes_on_from_the_start_of_the_first(arguments: Arguments, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    whole = lora()
    by_callback(whole, arguments(**saving), fitted(whole, "weight-kfac")).train()
    other = lora()
    with torch.no_grad():  # the same base with another random A, as in a script that seeds nothing
        for name, parameter in other.named_parameters():
            if "lora_A" in name:
                parameter.mul_(-0.7)
    first = tmp_path / "out" / "checkpoint-4"
    elsewhere = arguments(**saving, output_dir=str(tmp_path / "again"))
    with pytest.raises(LaloraError, match=r"again/checkpoint-4 holds no Laplace to go on with.*resumed_from="):
        by_callback(lora(), elsewhere, fitted(lora(), "weight-kfac")).train(resume_from_checkpoint=str(first))
    trainer = by_callback(other, elsewhere, fitted(other, "weight-kfac"))
    trainer.pop_callback(LaplaceCallback)
    trainer.add_callback(LaplaceCallback(fitted(other, "weight-kfac"), 30.0, resumed_from=first))
    trainer.train(resume_from_checkpoint=str(first))
    assert farthest(whole, other) == 0


def test_what_it_cannot_serve_is_refused(arguments: Arguments) -> None:
    with pytest.raises(LaloraError, match="strength"):
        LaplaceCallback(fitted(lora(), "diagonal"), -1.0)
    with pytest.raises(LaloraError):
        by_callback(lora(r=2), arguments(), fitted(lora(), "diagonal")).train()
