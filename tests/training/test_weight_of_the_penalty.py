"""The penalty weighs exactly λ once per optimizer step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

import lalora
from lalora import Laplace, LaplaceTrainer
from lalora.adapter import snapshot, trainable_tensors
from tiny import batches, collate, lora, rows, shake

Arguments = Callable[..., TrainingArguments]
TARGET = rows(40, seed=5)


def fitted(dtype: torch.dtype = torch.float32) -> tuple[Any, Laplace]:
    model = lora(dtype=dtype, b_scale=0.2)
    return model, lalora.fit(model, batches(rows(4), 2), progress=False)


def trained(trainer: Trainer) -> dict[str, Tensor]:
    trainer.train()
    return snapshot(trainer.model)


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_strength_zero_is_plain_lora(arguments: Arguments) -> None:
    model, laplace = fitted()
    common: dict[str, Any] = {"train_dataset": TARGET, "data_collator": collate}
    plain = trained(Trainer(model=copy.deepcopy(model), args=arguments(), **common))
    zero = trained(
        LaplaceTrainer(model=copy.deepcopy(model), args=arguments(), laplace=laplace, strength=0.0, **common)
    )
    some = trained(
        LaplaceTrainer(model=copy.deepcopy(model), args=arguments(), laplace=laplace, strength=9.0, **common)
    )
    assert distance(plain, zero) == 0.0
    assert distance(plain, some) > 0.0


@pytest.mark.parametrize("scheduler", ["linear", "constant"])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_accumulation_changes_nothing(arguments: Arguments, max_grad_norm: float, scheduler: str) -> None:
    model, laplace = fitted(torch.float64)
    results = []
    for size, accumulation in ((8, 1), (2, 4)):
        args = arguments(
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            max_steps=5,
            max_grad_norm=max_grad_norm,
            lr_scheduler_type=scheduler,
        )
        trainer = LaplaceTrainer(
            model=copy.deepcopy(model),
            args=args,
            train_dataset=TARGET,
            data_collator=collate,
            laplace=laplace,
            strength=50.0,
        )
        results.append(trained(trainer))
    assert distance(*results) < 1e-10


@pytest.mark.filterwarnings("ignore:the adapter is not where")
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_one_step_of_sgd_against_the_formula(arguments: Arguments, clip: float, accumulation: int) -> None:
    """θ ← θ − lr·clip(∇target + λΛΔ), from a point where Δ ≠ 0, worked out by hand."""
    model, laplace = fitted(torch.float64)
    shake(model)
    start = snapshot(model)
    strength, rate = 7.0, 0.1
    items = TARGET[: 2 * accumulation]
    whole = collate(items)
    logits = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"]).logits[:, :-1]
    kept = whole["labels"][:, 1:] != -100
    loss = torch.nn.functional.cross_entropy(logits[kept], whole["labels"][:, 1:][kept])
    (loss + laplace.penalty(model, strength)).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in trainable_tensors(model).items()}
    model.zero_grad()
    norm = torch.cat([gradient.reshape(-1) for gradient in gradients.values()]).norm()
    factor = min(1.0, clip / (float(norm) + 1e-6)) if clip else 1.0

    class InOrder(LaplaceTrainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return torch.utils.data.SequentialSampler(items)

    args = arguments(
        max_steps=1,
        optim="sgd",
        learning_rate=rate,
        max_grad_norm=clip,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type="constant",
    )
    found = trained(
        InOrder(model=model, args=args, train_dataset=items, data_collator=collate, laplace=laplace, strength=strength)
    )
    expected = {name: start[name] - rate * factor * gradients[name] for name in start}
    assert distance(found, expected) < 1e-7  # transformers takes the loss in float32


@pytest.mark.filterwarnings("ignore:the adapter is not where")
def test_autocast_leaves_the_penalty_in_float32(arguments: Arguments) -> None:
    """Δ is far from zero and the target loss has no gradient: all that is left is the penalty."""
    model, laplace = fitted()
    shake(model)
    expected = {}
    laplace.penalty(model, 3.0).backward()
    for name, parameter in trainable_tensors(model).items():
        if parameter.grad is not None:
            expected[name] = parameter.detach() - 0.1 * parameter.grad
    model.zero_grad()

    class NoTarget(LaplaceTrainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Tensor:
            return 0.0 * model(**inputs).logits.sum()

    args = arguments(max_steps=1, optim="sgd", learning_rate=0.1, max_grad_norm=0.0, bf16=True)
    found = trained(
        NoTarget(model=model, args=args, train_dataset=TARGET, data_collator=collate, laplace=laplace, strength=3.0)
    )
    assert max(float((found[name] - value).abs().max()) for name, value in expected.items()) < 1e-6
