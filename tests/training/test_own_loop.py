"""Trainers with a step or a loop of their own: served once a step, or refused by name; never without a penalty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
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
    """A user's own step over the mixin's, which is never called."""

    training_step = OwnStep.training_step


class OfAnother:
    """A mixin of somebody else's, in front."""

    training_step = OwnStep.training_step


class BehindAnother(OfAnother, Plain):
    pass


def halves(inputs: Any) -> list[Any]:
    """Cut a micro-batch as a token budget would, each part with its share of the loss."""
    return [{name: tensor[number : number + 1] for name, tensor in inputs.items()} for number in range(2)]


class ByTokens(Trainer):
    """Several forward and backward passes in one step, each with a loss of its own."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        model.train()
        losses = []
        for part in halves(inputs):
            losses.append(self.compute_loss(model, part, num_items_in_batch=num_items_in_batch))
            self.accelerator.backward(losses[-1])
        return torch.stack(losses).sum().detach()


class CutBehind(MethodMixin, ByTokens):
    pass


class CutInFront(Plain):
    """As a user would write it over a mixin: several steps of the Trainer in one."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        losses = [super(CutInFront, self).training_step(model, part, num_items_in_batch) for part in halves(inputs)]
        return torch.stack(losses).sum()


@dataclass(eq=False)
class Counting(L2):
    """The penalty, and how often it acts."""

    name = "counting"
    calls: list[str] = field(default_factory=list)

    def before_forward(self, model: Any, step: int, steps: int) -> None:
        self.calls.append(f"before {step}")
        super().before_forward(model, step, steps)

    def after_backward(self, model: Any, step: int, loss_scale: float) -> None:
        self.calls.append(f"after {step}")
        super().after_backward(model, step, loss_scale)


def build(kind: Any, args: TrainingArguments, method: L2 | None = None) -> Any:
    methods = [method or L2(3.0)]
    return kind(model=lora(), args=args, train_dataset=rows(16, seed=5), data_collator=collate, methods=methods)


@pytest.mark.parametrize("kind", [InFront, Behind, BehindAnother])
def test_a_step_of_its_own_is_served_from_wherever(kind: Any, arguments: Arguments) -> None:
    ends = []
    for each in (kind, Plain):
        trainer = build(each, arguments(max_steps=4))
        trainer.train()
        ends.append(snapshot(trainer.model))
    assert all(tensor.allclose(ends[1][name], atol=1e-6) for name, tensor in ends[0].items())


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("kind", [CutBehind, CutInFront])
def test_a_batch_that_is_cut_in_a_step_has_one_penalty(kind: Any, accumulation: int, arguments: Arguments) -> None:
    args = arguments(max_steps=4, gradient_accumulation_steps=accumulation)
    ends = []
    for each in (kind, Plain):
        calls: list[str] = []
        # Strong, so that a penalty counted twice would show.
        trainer = build(each, args, Counting(300.0, calls=calls))
        trainer.train()
        assert calls == [f"{when} {step}" for step in range(4) for when in ("before", "after")]
        ends.append(snapshot(trainer.model))
    assert all(tensor.allclose(ends[1][name], atol=1e-6) for name, tensor in ends[0].items())


def test_a_step_that_fails_leaves_the_next_one_whole(arguments: Arguments) -> None:
    class Failing(CutInFront):
        failed = False

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            if self.state.global_step == 1 and not self.failed:
                self.failed = True
                raise RuntimeError("out of memory")
            return loss

    calls: list[str] = []
    trainer = build(Failing, arguments(max_steps=2), Counting(3.0, calls=calls))
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.train()
    calls.clear()
    trainer.train()
    assert calls == ["before 0", "after 0", "before 1", "after 1"]


def test_a_loop_of_its_own_is_refused_by_name(arguments: Arguments) -> None:
    with pytest.raises(LaloraError, match="OwnLoop has a training loop of its own, in which nothing of lalora"):
        build(Looping, arguments())
