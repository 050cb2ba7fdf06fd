"""Trainers with a step or a loop of their own: served from the front, or refused by name; never without a penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import Trainer, TrainingArguments

from lalora import LaloraError, MethodMixin
from lalora.adapter import snapshot
from lalora.methods import L2
from tiny import collate, lora, rows

Arguments = Callable[..., TrainingArguments]


class OwnStep(Trainer):
    """As TRL's online DPO, Nash-MD and XPO."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


class OwnLoop(Trainer):
    """As TRL's experimental PPO."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        return None


class InFront(MethodMixin, OwnStep):
    pass


class Looping(MethodMixin, OwnLoop):
    pass


class Plain(MethodMixin, Trainer):
    def train(self, *args: Any, **kwargs: Any) -> Any:
        return super().train(*args, **kwargs)


class Behind(Plain):
    """A user's own step over the mixin's."""

    training_step = OwnStep.training_step


def build(kind: Any, args: TrainingArguments) -> Any:
    return kind(model=lora(), args=args, train_dataset=rows(16, seed=5), data_collator=collate, methods=[L2(3.0)])


def test_a_step_of_its_own_is_served_from_the_front(arguments: Arguments) -> None:
    ends = []
    for kind in (InFront, Plain):
        trainer = build(kind, arguments(max_steps=4))
        trainer.train()
        ends.append(snapshot(trainer.model))
    assert all(tensor.allclose(ends[1][name], atol=1e-6) for name, tensor in ends[0].items())


def test_what_would_train_without_a_penalty_is_refused_by_name(arguments: Arguments) -> None:
    with pytest.raises(LaloraError, match=r"Behind has a training_step that never calls super\(\).training_step\(\)"):
        build(Behind, arguments())
    with pytest.raises(LaloraError, match="OwnLoop has a training loop of its own, in which nothing of lalora"):
        build(Looping, arguments())
