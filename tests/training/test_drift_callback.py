"""Drift measured while training: in the log and in every reporter, told or stopped at a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback, TrainingArguments

import lalora
from lalora import DriftCallback, LaloraError
from tiny import batches, collate, lora, rows

Arguments = Callable[..., TrainingArguments]
TEXT = {"arc": batches(rows(6, seed=31), 3), "hella": batches(rows(6, seed=32), 3)}


class Reporter(TrainerCallback):
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]
        self.told.append({"step": state.global_step, **logs})


def build(args: TrainingArguments, **settings: Any) -> tuple[Trainer, Reporter]:
    reporter = Reporter()
    trainer = Trainer(
        model=lora(), args=args, train_dataset=rows(16, seed=5), data_collator=collate, callbacks=[reporter]
    )
    trainer.add_callback(DriftCallback(trainer, TEXT, **settings))
    return trainer, reporter


def test_it_stands_beside_the_loss_wherever_that_is_told(arguments: Arguments) -> None:
    trainer, reporter = build(arguments(max_steps=5, logging_steps=2), every=2)
    trainer.train()
    assert [row["step"] for row in reporter.told if "drift" in row] == [2, 4, 5]
    assert [row["step"] for row in reporter.told if "loss" in row] == [2, 4]
    last = [row for row in trainer.state.log_history if "drift" in row][-1]
    found = lalora.drift(trainer.model, TEXT)
    assert last["drift"] == pytest.approx(found.kl, rel=1e-6)
    assert (last["drift_low"], last["drift_high"]) == pytest.approx((found.low, found.high), rel=1e-6)


def test_it_changes_nothing_of_the_training(arguments: Arguments) -> None:
    watched, _ = build(arguments(max_steps=4), every=1)
    watched.train()
    alone = Trainer(model=lora(), args=arguments(max_steps=4), train_dataset=rows(16, seed=5), data_collator=collate)
    alone.train()
    for (name, one), other in zip(watched.model.named_parameters(), alone.model.parameters(), strict=True):
        assert one.equal(other), name


def test_a_limit_is_told_once_or_ends_it(arguments: Arguments) -> None:
    trainer, _ = build(arguments(max_steps=6), every=2, limit=1e-9)
    with pytest.warns(
        UserWarning, match="step 2: the model has drifted .* more than 1e-09; lalora.soften brings"
    ) as told:
        trainer.train()
    assert len(told) == 1
    assert trainer.state.global_step == 6
    trainer, _ = build(arguments(max_steps=6), every=2, limit=1e-9, stop=True)
    with pytest.warns(UserWarning, match="training ends here"):
        trainer.train()
    assert trainer.state.global_step == 2


def test_what_makes_no_sense_is_refused(arguments: Arguments) -> None:
    for settings, message in (
        ({"every": 0}, "every must be 1 or more"),
        ({"limit": 0.0}, "limit"),
        ({"stop": True}, "stop=True needs a limit"),
    ):
        with pytest.raises(LaloraError, match=message):
            build(arguments(), **settings)


def test_a_second_training_and_a_new_model_are_measured(arguments: Arguments) -> None:
    data: Any = {"train_dataset": rows(16, seed=5), "data_collator": collate}
    trainer = Trainer(model_init=lambda: lora(), args=arguments(max_steps=3), **data)
    trainer.add_callback(DriftCallback(trainer, TEXT, every=50))
    for _ in range(2):
        trainer.train()
        (last,) = [row for row in trainer.state.log_history if "drift" in row]
        assert last["drift"] == pytest.approx(lalora.drift(trainer.model, TEXT).kl, rel=1e-6)
        assert last["drift"] > 0
