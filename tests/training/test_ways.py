"""Every way to train with a penalty ends at the same adapter: mixin, callback, accelerate, plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

import lalora
from lalora import LaplaceCallback, LaplaceMixin
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows

Arguments = Callable[..., TrainingArguments]
STEPS, STRENGTH, RATE = 10, 30.0, 1e-2
SOURCE = {"arc": batches(rows(6), 2)}
DATA: dict[str, Any] = {"train_dataset": rows(40, seed=5), "data_collator": collate}


class InOrder(Trainer):
    def _get_train_sampler(self, *args: Any) -> Any:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class Mixed(LaplaceMixin, InOrder):
    pass


def by_mixin(model: Any, laplace: Any, args: TrainingArguments) -> None:
    Mixed(model=model, args=args, laplace=laplace, strength=STRENGTH, **DATA).train()


def by_callback(model: Any, laplace: Any, args: TrainingArguments) -> None:
    InOrder(model=model, args=args, callbacks=[LaplaceCallback(laplace, STRENGTH)], **DATA).train()


def steps(args: TrainingArguments) -> list[tuple[list[Any], int]]:
    """The micro-batches of each optimizer step, and the loss tokens in it, by which the Trainer divides."""
    size = args.gradient_accumulation_steps
    micro = batches(DATA["train_dataset"], 2)[: STEPS * size]
    groups = [micro[first : first + size] for first in range(0, len(micro), size)]
    return [(group, sum(int((batch["labels"] != -100).sum()) for batch in group)) for group in groups]


def optimizer_of(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)


def by_plain_loop(model: Any, laplace: Any, args: TrainingArguments) -> None:
    optimizer = optimizer_of(model.train())
    for group, tokens in steps(args):
        loss = sum(model(**batch, num_items_in_batch=tokens).loss for batch in group)
        (loss + laplace.penalty(model, strength=STRENGTH)).backward()
        optimizer.step()
        optimizer.zero_grad()


def by_added_gradient(model: Any, laplace: Any, args: TrainingArguments) -> None:
    optimizer = optimizer_of(model.train())
    for group, tokens in steps(args):
        for batch in group:
            model(**batch, num_items_in_batch=tokens).loss.backward()
        laplace.add_gradient(model, STRENGTH)
        optimizer.step()
        optimizer.zero_grad()


def by_accelerate(model: Any, laplace: Any, args: TrainingArguments) -> None:
    from accelerate import Accelerator

    size = args.gradient_accumulation_steps
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=size)
    wrapped, optimizer = accelerator.prepare(model.train(), optimizer_of(model))
    for group, tokens in steps(args):
        for batch in group:
            with accelerator.accumulate(wrapped):
                # Accelerate divides each loss by the number of micro-batches.
                accelerator.backward(wrapped(**batch, num_items_in_batch=tokens).loss * size)
                if accelerator.sync_gradients:
                    laplace.add_gradient(accelerator.unwrap_model(wrapped), STRENGTH)
                optimizer.step()
                optimizer.zero_grad()


WAYS = (by_callback, by_plain_loop, by_added_gradient, by_accelerate)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("curvature", ["diagonal", "weight-kfac"])
def test_all_ways_end_at_the_same_adapter(curvature: str, accumulation: int, arguments: Arguments) -> None:
    args = arguments(
        max_steps=STEPS, gradient_accumulation_steps=accumulation, max_grad_norm=0.0, learning_rate=RATE,
        lr_scheduler_type="constant", weight_decay=0.0, optim="adamw_torch",
    )  # fmt: skip
    # In float64, where the order in which gradients are summed does not show.
    start = lora(dtype=torch.float64)
    laplace = lalora.fit(start, SOURCE, curvature=curvature, progress=False)
    expected = lora(dtype=torch.float64)
    by_mixin(expected, laplace, args)
    end = snapshot(expected)
    for way in WAYS:
        model = lora(dtype=torch.float64)
        way(model, laplace, args)
        for name, tensor in snapshot(model).items():
            assert torch.allclose(tensor, end[name], rtol=0, atol=1e-9), f"{way.__name__}: {name}"
    free = lora(dtype=torch.float64)
    InOrder(model=free, args=args, **DATA).train()
    assert max(float((tensor - end[name]).abs().max()) for name, tensor in snapshot(free).items()) > 1e-3
