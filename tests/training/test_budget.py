"""A Trainer with a budget of drift: by softening, by control of the strengths, by both; killed and resumed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import IterableDataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import TrainingArguments

import lalora
from lalora import LaloraError, LaplaceTrainer, MethodTrainer
from lalora.adapter import linear_pairs, snapshot
from lalora.methods import KL, LaLoRA, Method, Milora
from lalora.scoring import score_text
from lalora.training._control import Control
from tiny import batches, collate, llama, lora, rows

Arguments = Callable[..., TrainingArguments]
TARGET = rows(16, seed=5)
SOURCE = {"arc": batches(rows(6), 2), "hella": batches(rows(5, seed=2), 3)}
HELD = {"arc": batches(rows(6, seed=31), 3), "hella": batches(rows(6, seed=32), 3)}


STREAM = IterableDataset.from_generator(lambda: iter(TARGET))
NOTHING = {"arc": [{**HELD["arc"][0], "labels": torch.full_like(HELD["arc"][0]["labels"], -100)}]}


def build(model: Any, args: TrainingArguments, budget: float, **settings: Any) -> MethodTrainer:
    options: dict[str, Any] = {"sources": SOURCE, "budget_batches": HELD, "train_dataset": TARGET}
    options |= {"data_collator": collate, **settings}
    return MethodTrainer(model=model, args=args, budget=budget, **options)


def drift(model: Any) -> float:
    return sum(score_text(model, text).kl for text in HELD.values()) / len(HELD)


def plain(args: TrainingArguments) -> PeftModel:
    model = lora()
    MethodTrainer(model=model, args=args, train_dataset=TARGET, data_collator=collate).train()
    return model


def elsewhere() -> PeftModel:
    """The same base with another random A, as in a script that seeds nothing."""
    model = lora()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name:
                parameter.mul_(-0.7)
    return model


def test_softening_ends_within_the_budget_and_keeps_both_adapters(arguments: Arguments, tmp_path: Path) -> None:
    unbounded = plain(arguments())
    budget = drift(unbounded) / 4
    model = lora()
    trainer = build(model, arguments(), budget)
    trainer.train()
    assert budget * 0.8 < drift(model) <= budget
    logged = trainer.state.log_history[-1]
    assert logged["drift"] == pytest.approx(drift(model), rel=1e-5)
    assert logged["trained_drift"] == pytest.approx(drift(unbounded), rel=1e-5)
    assert trainer.budget_choice is not None
    assert logged["softening_strength"] == trainer.budget_choice.strength > 0

    trainer.save_model(str(tmp_path / "kept"))
    for folder, expected in (("kept", snapshot(model)), ("kept/trained", snapshot(unbounded))):
        found = PeftModel.from_pretrained(llama(), str(tmp_path / folder), is_trainable=True)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in snapshot(found).items())


def test_a_laplace_of_the_base_among_the_methods_is_what_softens(arguments: Arguments) -> None:
    laplace = lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    ends = []
    for sources in (SOURCE, {}):
        model = lora()
        build(model, arguments(), 0.05, sources=sources, methods=[LaLoRA(0.0, laplace=laplace)]).train()
        ends.append(snapshot(model))
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_a_drift_below_the_budget_leaves_the_adapter_as_it_was_trained(arguments: Arguments) -> None:
    model, unbounded = lora(), plain(arguments())
    build(model, arguments(), 100.0).train()
    assert all(torch.equal(tensor, snapshot(unbounded)[name]) for name, tensor in snapshot(model).items())


def test_a_budget_that_no_strength_meets_ends_nearest_and_says_so(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lalora.softening._budget.LADDER", (0.1, 1.0))
    model = lora()
    with pytest.warns(
        UserWarning, match=r"the budget of 1e-09 nats per token cannot be met: softened as far as λ = 1 "
    ):
        build(model, arguments(), 1e-9).train()
    assert 1e-9 < drift(model) < drift(plain(arguments()))


def test_control_meets_the_budget_on_the_tiny_model(arguments: Arguments) -> None:
    args = arguments(max_steps=60, learning_rate=1e-2)
    budget = drift(plain(args)) / 5
    model = lora()
    methods = [LaLoRA(1.0, curvature="weight-kfac", prior="auto")]
    trainer = build(model, args, budget, methods=methods, budget_by="control", budget_every=3)
    trainer.train()
    assert budget / 1.2 < drift(model) < budget * 1.2
    factors = [row["strength_factor"] for row in trainer.state.log_history if "strength_factor" in row]
    assert len(factors) == 20
    assert min(factors) < max(factors)


def test_control_that_ends_above_the_budget_says_why(arguments: Arguments) -> None:
    with pytest.warns(UserWarning, match="the budget of 1e-07 nats per token is not met: with strengths times"):
        build(lora(), arguments(), 1e-7, methods=[KL(1.0)], budget_by="control").train()


@pytest.mark.filterwarnings("ignore:the budget of 0.02 nats")
@pytest.mark.parametrize("by", ["softening", "control", "both"])
@pytest.mark.parametrize("at", [4, 8])
def test_killed_and_resumed_it_ends_with_the_same_bits(by: str, at: int, arguments: Arguments, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 10}
    settings: dict[str, Any] = {"methods": [KL(0.5)], "budget_by": by, "budget_every": 2}
    whole = build(lora(), arguments(**saving), 0.02, **settings)
    whole.train()
    resumed = build(elsewhere(), arguments(**saving, output_dir=str(tmp_path / "again")), 0.02, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{at}"))
    ends = snapshot(whole.model), snapshot(resumed.model)
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    assert _kept(whole) == _kept(resumed)


def _kept(trainer: MethodTrainer) -> list[dict[str, float]]:
    return [row for row in trainer.state.log_history if "drift" in row]


@pytest.mark.filterwarnings("ignore:the budget of 0.02 nats")
def test_a_checkpoint_of_another_budget_is_refused(arguments: Arguments, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 4}
    settings: dict[str, Any] = {"methods": [KL(0.5)], "budget_by": "control", "budget_every": 2}
    build(lora(), arguments(**saving), 0.02, **settings).train()
    with pytest.raises(LaloraError, match=r"checkpoint-4 was trained with budget 0.02, not 0.05"):
        build(lora(), arguments(max_steps=8), 0.05, **settings).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4")
        )


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to measure on": ({"budget_batches": ()}, "a budget is measured: give budget_batches"),
    "rows that are fitted": ({"budget_batches": SOURCE}, "rows of source 'arc' were fitted on"),
    "nothing to fit": ({"sources": {}}, "softening fits the source's curvature: give sources="),
    "sources left out": ({"sources": ()}, "softening fits the source's curvature: give sources="),
    "rows of a Laplace that is not softened by": (
        {"methods": [LaLoRA(laplace=lalora.fit(lora(), HELD, progress=False))]},
        "rows of source 'arc' were fitted on",
    ),
    "no token to measure on": ({"budget_batches": NOTHING}, r"budget_batches\['arc'\] has no completion token"),
    "never measured": (
        {"methods": [KL()], "budget_by": "control", "budget_every": 0},
        "budget_every must be 1 or more",
    ),
    "a stream": ({"train_dataset": STREAM}, "they are a stream, which would lose those that are taken.*budget_target"),
    "no batches": ({"data_collator": lambda items: items}, "the collator makes a list of them.*give budget_target"),
    "no strength": ({"budget_by": "control"}, "'lora' has none above 0"),
    "a way": ({"budget_by": "luck"}, "budget_by is 'luck': choose softening, control, both"),
    "other base weights": ({"methods": [Milora()]}, "whose weights 'milora' replaces"),
    "no labels": ({"data_collator": lambda items: {"prompt": torch.ones(2, 2)}}, "give budget_target"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_kept_is_refused_before_training(
    settings: dict[str, Any], message: str, arguments: Arguments
) -> None:
    with pytest.raises(LaloraError, match=message):
        build(lora(), arguments(), 0.02, **settings)


def other_adapter() -> PeftModel:
    return get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"]), adapter_name="trained")


def changing_the_head() -> PeftModel:
    return get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (other_adapter, "the model has an adapter 'trained'.*: rename it, or delete it"),
        (changing_the_head, r"this adapter also changes '.*lm_head"),
    ],
)
def test_adapters_that_cannot_be_kept_or_softened_are_refused(
    model: Callable[[], PeftModel], message: str, arguments: Arguments
) -> None:
    with pytest.raises(LaloraError, match=message):
        build(model(), arguments(), 0.02)


def test_an_adapter_that_has_not_changed_is_left_alone(arguments: Arguments) -> None:
    model = lora()
    trainer = build(model, arguments(max_steps=1, learning_rate=0.0), 0.02)
    trainer.train()
    assert trainer.front is None
    assert set(model.peft_config) == {"default"}


def test_a_budget_changes_nothing_of_the_training(arguments: Arguments) -> None:
    dropping = {"lora_dropout": 0.3}
    unbounded, model = lora(**dropping), lora(**dropping)
    MethodTrainer(model=unbounded, args=arguments(), train_dataset=TARGET, data_collator=collate).train()
    build(model, arguments(), drift(unbounded) / 4).train()
    model.set_adapter("trained")
    assert all(
        torch.equal(pair.up.weight, other.up.weight) and torch.equal(pair.down.weight, other.down.weight)
        for pair, other in zip(linear_pairs(model), linear_pairs(unbounded), strict=True)
    )


@pytest.mark.filterwarnings("ignore:the budget of")
def test_a_second_training_is_controlled_as_the_first(arguments: Arguments) -> None:
    trainer = build(lora(), arguments(max_steps=6), 1e-4, methods=[KL()], budget_by="control", budget_every=2)
    for _ in range(2):
        trainer.train()
        assert [row["step"] for row in _kept(trainer)] == [2, 4, 6]
        first, *_ = (row["strength_factor"] for row in _kept(trainer))
        assert first == 1


@pytest.mark.filterwarnings("ignore:the budget of")
@pytest.mark.parametrize("now", [{"budget_by": "softening"}, {"budget": None, "budget_batches": ()}])
def test_a_checkpoint_of_control_is_not_gone_on_from_without(
    now: dict[str, Any], arguments: Arguments, tmp_path: Path
) -> None:
    args = arguments(save_strategy="steps", save_steps=4, max_steps=4)
    given: dict[str, Any] = {"train_dataset": TARGET, "data_collator": collate, "sources": SOURCE}
    given |= {"methods": [KL()], "budget": 0.02, "budget_batches": HELD, "budget_by": "both", "budget_every": 2}
    MethodTrainer(model=lora(), args=args, **given).train()
    with pytest.raises(LaloraError, match="was trained to a budget by control: give the same budget and budget_by"):
        MethodTrainer(model=lora(), args=arguments(max_steps=8), **(given | now)).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4")
        )


def test_a_laplace_trainer_takes_sources_for_its_budget(arguments: Arguments) -> None:
    model = lora()
    laplace = lalora.fit(model, SOURCE, progress=False)
    trainer = LaplaceTrainer(
        model=model, args=arguments(), train_dataset=TARGET, data_collator=collate, laplace=laplace,
        sources=SOURCE, budget=1e-3, budget_batches=HELD,
    )  # fmt: skip
    trainer.train()
    assert drift(model) <= 1e-3


def test_rows_without_a_budget_are_refused(arguments: Arguments) -> None:
    with pytest.raises(LaloraError, match="give budget, in nats per token"):
        MethodTrainer(model=lora(), args=arguments(), train_dataset=TARGET, budget_batches=HELD)


@pytest.mark.parametrize("thrown", [0.0, 0.2])
def test_the_controller_settles_where_the_drift_answers_as_a_power_of_the_strength(thrown: float) -> None:
    """A drift that follows the strength with a lag, log drift → c − 0.7·log factor, and is thrown up by large steps."""
    control, draw = Control(budget=0.02, every=4), random.Random(0)
    log_drift = math.log(0.05)
    for step in range(4, 161, 4):
        log_drift += 0.25 * (math.log(0.4) - 0.7 * math.log(control.factor) - log_drift)
        control.update(step, 160, math.exp(log_drift) + thrown * (1 - step / 160) ** 2 * draw.expovariate(1))
    assert abs(math.log(control.drifts[160] / 0.02)) < math.log(1.2)


def test_what_large_steps_throw_up_is_not_answered() -> None:
    """A drift that goes up and down while the learning rate is high, and would end at the budget by itself."""
    control, draw = Control(budget=0.02, every=4), random.Random(1)
    for step in range(4, 161, 4):
        control.update(step, 160, 0.02 + 0.2 * (1 - step / 160) ** 2 * draw.expovariate(1))
        assert 0.1 < control.factor < 10


def test_several_methods_are_raised_together_and_those_at_zero_stay_there(arguments: Arguments) -> None:
    methods: list[Method] = [LaLoRA(0.0), KL(2.0)]
    trainer = build(lora(), arguments(max_steps=5), 0.001, methods=methods, budget_by="control", budget_every=2)
    with pytest.warns(UserWarning, match="is not met"):
        trainer.train()
    weights = {method.name: method.strength_now for method in trainer.methods}
    factor = trainer.state.log_history[-1].get("strength_factor") or _kept(trainer)[-1]["strength_factor"]
    assert weights == {"lalora": 0.0, "kl": pytest.approx(2.0 * factor)}
    assert [method.strength for method in trainer.methods] == [0.0, 2.0]  # type: ignore[attr-defined]
