"""Any method in anybody's Trainer, and several at once: their penalties add, exactly once a step."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from typing_extensions import Doc

import lalora
from hostile.sandbox import Sandbox
from lalora import LaloraError, LaplaceTrainer, MethodMixin, MethodTrainer, TrainingDivergedError
from lalora.adapter import snapshot, trainable_tensors
from lalora.methods import KL, L2, L2B, FlatLora, LaLoRA, Lora, Method, Migu, Milora, Replay
from lalora.methods.kl import kl_to_base
from lalora.options import NonNegative
from tiny import Batch, batches, collate, llama, lora, rows, shake, tokenizer

Arguments = Callable[..., TrainingArguments]
TARGET = rows(16, seed=5)
SOURCE = {"arc": batches(rows(4), 2), "hella": batches(rows(3, seed=2), 3)}


def build(model: Any, args: TrainingArguments, methods: list[Method], **settings: Any) -> MethodTrainer:
    options = {"train_dataset": TARGET, "data_collator": collate, "sources": SOURCE, **settings}
    return MethodTrainer(model=model, args=args, methods=methods, **options)


def trained(model: Any, args: TrainingArguments, methods: list[Method], **settings: Any) -> dict[str, Tensor]:
    made = build(model, args, methods, **settings)
    made.train()
    return snapshot(made.model)


def plain(model: Any, args: TrainingArguments) -> dict[str, Tensor]:
    Trainer(model=model, args=args, train_dataset=TARGET, data_collator=collate).train()
    return snapshot(model)


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("order", [("lalora", "kl"), ("kl", "lalora")])
def test_a_step_of_two_is_the_target_and_both_penalties(
    arguments: Arguments, accumulation: int, order: tuple[str, str]
) -> None:
    """θ ← θ − lr·(∇target + λ₁ΛΔ + λ₂·every·∇KL), from a point where Δ ≠ 0, by autograd in float64."""
    model = lora(dtype=torch.float64)
    laplace = lalora.fit(model, SOURCE, curvature="weight-kfac", progress=False)
    shake(model)
    start, rate = snapshot(model), 0.1
    items = TARGET[: 2 * accumulation]
    whole = collate(items)
    logits = model(input_ids=whole["input_ids"], attention_mask=whole["attention_mask"]).logits[:, :-1]
    kept = whole["labels"][:, 1:] != -100
    loss = torch.nn.functional.cross_entropy(logits[kept], whole["labels"][:, 1:][kept])
    both = laplace.penalty(model, 7.0) + 3.0 * 2 * kl_to_base(model, SOURCE["arc"][0])
    (loss + both).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in trainable_tensors(model).items()}
    model.zero_grad()

    class InOrder(MethodTrainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return torch.utils.data.SequentialSampler(items)

    args = arguments(
        max_steps=1, optim="sgd", learning_rate=rate, max_grad_norm=0.0, lr_scheduler_type="constant",
        gradient_accumulation_steps=accumulation,
    )  # fmt: skip
    methods = {"lalora": LaLoRA(7.0, laplace=laplace), "kl": KL(3.0, every=2)}
    trainer = InOrder(
        model=model, args=args, train_dataset=items, data_collator=collate, sources=SOURCE,
        methods=[methods[name] for name in order],
    )  # fmt: skip
    trainer.train()
    expected = {name: start[name] - rate * gradients[name] for name in start}
    assert distance(snapshot(model), expected) < 1e-7  # transformers takes the loss in float32


def test_a_penalty_and_its_forecast_are_logged_beside_the_target_loss(arguments: Arguments) -> None:
    model = lora()
    trainer = build(model, arguments(max_steps=2), [LaLoRA(3.0), L2(0.5), KL()])
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    penalties = [method.metrics(model)["penalty"] for method in trainer.methods if method.name != "kl"]
    assert logged[-1]["penalty"] == pytest.approx(sum(penalties))
    assert logged[-1]["forecast"] > 0


def test_a_laplace_trainer_is_a_method_trainer_with_lalora(arguments: Arguments) -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False)
    common: dict[str, Any] = {"train_dataset": TARGET, "data_collator": collate}
    model = lora()
    LaplaceTrainer(model=model, args=arguments(), laplace=laplace, strength=50.0, **common).train()
    assert distance(snapshot(model), trained(lora(), arguments(), [LaLoRA(50.0)])) == 0.0
    assert distance(snapshot(model), trained(lora(), arguments(), [LaLoRA(50.0, laplace=laplace)])) == 0.0


WAYS: dict[str, tuple[Method, Method]] = {
    "kl": (KL(3.0, every=2), KL(0.0)),
    "flat-lora": (FlatLora(0.3), FlatLora(0.0)),
    "migu": (Migu(0.5), Migu(0.0)),
    "replay": (Replay(0.5), Replay(0.0)),
    "l2-b": (L2B(1.0), L2B(0.0)),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_works_in_a_plain_trainer_and_its_knob_at_zero_is_plain_lora(arguments: Arguments, name: str) -> None:
    some, none = copy.deepcopy(WAYS[name])
    expected = plain(lora(), arguments())
    assert distance(trained(lora(), arguments(), [none]), expected) == 0.0
    assert distance(trained(lora(), arguments(), [some]), expected) > 1e-4
    assert distance(trained(lora(), arguments(), [Lora()]), expected) == 0.0


def test_what_is_noisy_in_the_forward_pass_is_put_back_before_a_penalty_looks(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    model = lora()
    weight = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj").get_base_layer().weight
    clean = weight.detach().clone()

    def looking(*args: Any) -> Tensor:
        seen.append(torch.equal(weight, clean))
        return kl_to_base(*args)

    monkeypatch.setattr("lalora.methods.kl.kl_to_base", looking)
    trained(model, arguments(max_steps=3), [KL(), FlatLora(0.5)])
    assert seen == [True] * 3
    assert torch.equal(weight, clean)


def test_a_mask_is_over_all_penalties(arguments: Arguments) -> None:
    model = lora(b_scale=0.3)
    first = snapshot(model)
    shake(model, 0.0)
    trainer = build(model, arguments(max_steps=1), [Migu(0.5), L2(100.0)])
    trainer.train()
    rows_that_stay = [(tensor == first[name]).all(dim=1).float().mean() for name, tensor in snapshot(model).items()]
    assert torch.stack(rows_that_stay).mean() > 0.2


def test_a_replaced_start_is_where_penalties_measure_from(arguments: Arguments, tmp_path: Path) -> None:
    model = lora()
    trainer = build(model, arguments(max_steps=4), [LaLoRA(10.0), Milora(), L2(0.1)])
    assert [method.name for method in trainer.methods] == ["milora", "lalora", "l2"]
    assert trainer.methods.metrics(model) == {"penalty": 0.0, "forecast": 0.0}
    trainer.train()
    assert trainer.methods.metrics(model)["penalty"] > 0
    # What is saved is for the untouched base.
    trainer.save_model(str(tmp_path / "kept"))
    kept = PeftModel.from_pretrained(llama(), str(tmp_path / "kept"))
    batch = SOURCE["arc"][0]
    model.eval()
    assert torch.allclose(kept(**batch).logits, model(**batch).logits, atol=1e-4)
    with pytest.raises(LaloraError, match="'milora' trains on other base weights, and push_to_hub would publish"):
        build(lora(), arguments(push_to_hub=True, hub_model_id="a/b", hub_token="x"), [Milora()])


def test_a_resumed_run_of_two_equals_the_whole_one(arguments: Arguments, tmp_path: Path) -> None:
    def two() -> list[Method]:
        return [LaLoRA(50.0, refit_every=3, curvature="weight-kfac"), KL(2.0, every=3), L2(0.1)]

    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    whole = trained(lora(lora_dropout=0.1), arguments(**saving), two())
    resumed = build(lora(lora_dropout=0.1), arguments(**saving, output_dir=str(tmp_path / "again")), two())
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert distance(snapshot(resumed.model), whole) == 0.0


OTHERS: dict[str, tuple[list[Method], int, str]] = {
    "an option": ([LaLoRA(5.0), L2(0.1)], 0, "checkpoint-2 was trained with strength 50, not 5: give the same"),
    "the fit": (
        [LaLoRA(50.0, curvature="kfac"), L2(0.1)],
        0,
        "with curvature 'weight-kfac', not 'kfac': give the same",
    ),
    "a method": ([LaLoRA(50.0)], 0, "checkpoint-2 was trained by 'lalora.l2', not 'lalora': give the same to resume"),
    "the start": ([LaLoRA(50.0), L2(0.1)], 1, "did not start where that of .*checkpoint-2 did, which 'l2' measures"),
}


@pytest.mark.parametrize(("methods", "seed", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_a_checkpoint_of_another_run_is_refused(
    arguments: Arguments, tmp_path: Path, methods: list[Method], seed: int, message: str
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trained(lora(), arguments(**saving), [LaLoRA(50.0), L2(0.1)])
    model = lora()
    if seed:
        shake(model)
    with pytest.raises(LaloraError, match=message):
        build(model, arguments(**saving), copy.deepcopy(methods)).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2")
        )


def test_methods_get_ready_anew_for_each_model_that_model_init_makes(arguments: Arguments) -> None:
    made = build(None, arguments(data_seed=7), [LaLoRA(50.0), L2(0.1)], model_init=lambda: lora())
    ends = []
    for _ in range(2):
        made.train()
        ends.append(snapshot(made.model))
    right = trained(lora(), arguments(data_seed=7), [LaLoRA(50.0), L2(0.1)])
    assert distance(ends[0], right) == distance(ends[1], right) == 0.0


REFUSED: dict[str, tuple[list[Method], str]] = {
    "twice": ([KL(), KL(2.0)], "method 'kl' is there twice"),
    "lora": ([Lora(), KL()], "method 'lora' adds nothing to others: leave it out"),
    "two starts": ([Milora(), lalora.methods.Corda()], "'milora' and 'corda' both choose the start"),
    "intruders": ([Milora(), lalora.methods.Intruders()], "untouched weights, which 'milora' replaces"),
}


@pytest.mark.parametrize(("methods", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_together_is_refused(arguments: Arguments, methods: list[Method], message: str) -> None:
    with pytest.raises(LaloraError, match=message):
        build(lora(), arguments(), methods)


def test_rows_that_no_method_can_mix_into_are_refused(arguments: Arguments) -> None:
    of_others = [{**row, "completion_mask": row["labels"]} for row in TARGET]
    with pytest.raises(LaloraError, match=r"have the columns .* \('completion_mask'\): mix source rows in yourself"):
        build(lora(), arguments(), [Replay(0.5)], train_dataset=of_others)
    with pytest.raises(LaloraError, match="which cannot be a stream or empty"):
        build(lora(), arguments(), [Replay(0.5)], train_dataset=[])
    with pytest.raises(LaloraError, match="method 'kl' needs source text"):
        build(lora(), arguments(), [KL()], sources=())


def test_rows_that_are_mixed_in_have_the_columns_of_the_others(arguments: Arguments) -> None:
    masked = [{**row, "attention_mask": torch.ones_like(row["input_ids"])} for row in TARGET]
    trainer = build(lora(), arguments(), [Replay(0.5)], train_dataset=masked)
    known = {tuple(row["input_ids"].tolist()) for row in masked}
    mixed = [row for row in trainer.train_dataset if tuple(row["input_ids"].tolist()) not in known]
    assert 0 < len(mixed) < len(trainer.train_dataset) == len(masked)
    for row in mixed:
        assert row.keys() == masked[0].keys()
        assert row["attention_mask"].tolist() == [1] * len(row["input_ids"])


def test_divergence_names_the_methods(arguments: Arguments) -> None:
    class Diverges(MethodTrainer):
        def compute_loss(self, *args: Any, **options: Any) -> Any:
            return super().compute_loss(*args, **options) * float("nan")

    trainer = Diverges(
        model=lora(), args=arguments(), train_dataset=TARGET, data_collator=collate, methods=[L2(0.1), Migu()]
    )
    with pytest.raises(TrainingDivergedError, match="the loss is nan at step 1 by 'l2\\+migu'; lower"):
        trainer.train()


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_with_trl(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class MethodSFTTrainer(MethodMixin, SFTTrainer):
        pass

    args = SFTConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        logging_steps=1, report_to="none", save_strategy="steps", save_steps=1, use_cpu=True, bf16=False,
        disable_tqdm=True, max_length=32,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "a b c", "completion": " d e f"}, {"prompt": "b", "completion": " c d"}] * 4)
    common: dict[str, Any] = {"args": args, "train_dataset": data, "processing_class": tokenizer(), "sources": SOURCE}
    methods = [LaLoRA(2.0), KL(every=2), FlatLora(), Migu()]
    trainer = MethodSFTTrainer(model=lora(), methods=methods, **common)
    trainer.train()
    assert [entry["forecast"] > 0 for entry in trainer.state.log_history if "forecast" in entry] == [True, True]
    assert (tmp_path / "checkpoint-1" / "methods.json").is_file()
    with pytest.raises(LaloraError, match="mix source rows in yourself, before the data are tokenised"):
        MethodSFTTrainer(model=lora(), methods=[Replay()], **common)


def test_sources_and_a_budget_can_be_text(arguments: Arguments) -> None:
    text = {"general": [f"{one} {other}" for one in "abcd" for other in "efg"]}
    unseen = [f"{one} {other} d" for one in "hij" for other in "klm"]
    given: dict[str, Any] = {"methods": [KL(2.0)], "train_dataset": TARGET, "data_collator": collate}
    models = []
    for tokenized in (False, True):
        as_given: Callable[[Any], Any] = partial(lalora.source_batches, tokenizer=tokenizer(), seed=arguments().seed)
        if not tokenized:
            as_given = copy.copy
        sources = {name: as_given(data) for name, data in text.items()}
        model = lora()
        MethodTrainer(
            model=model, args=arguments(), processing_class=tokenizer(), sources=sources, budget=1e-3,
            budget_batches=as_given(unseen), **given,
        ).train()  # fmt: skip
        models.append(snapshot(model))
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())
    with pytest.raises(LaloraError, match="the sources are text: give tokenizer="):
        MethodTrainer(model=lora(), args=arguments(), sources=text, **given)


@dataclass
class Towards(Method):
    """A user's own: pulls every weight towards a value."""

    name = "towards"
    label = "Towards"

    pull: Annotated[NonNegative, Doc("How hard.")] = 1.0
    value: Annotated[float, Doc("Where to.")] = 0.0

    def after_backward(self, model: nn.Module, step: int, loss_scale: float) -> None:
        for tensor in trainable_tensors(model).values():
            assert tensor.grad is not None
            tensor.grad += self.pull * loss_scale * (tensor.detach() - self.value)


def test_a_method_of_ones_own(arguments: Arguments) -> None:
    found = trained(lora(), arguments(max_steps=30), [Towards(1e4, value=0.25), KL()])
    start = snapshot(lora())
    for name, tensor in found.items():
        assert (tensor - 0.25).abs().mean() < (start[name] - 0.25).abs().mean()
    with pytest.raises(LaloraError, match="pull must be greater than or equal to 0"):
        Towards(-1)


TWO_PROCESSES = """
import sys
import torch
from transformers import TrainingArguments
import lalora
from lalora.adapter import snapshot
from lalora.methods import KL, LaLoRA
from tiny import batches, collate, lora, rows

size, accumulation, out, resumes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "resume"
model = lora(dtype=torch.float64, b_scale=0.2)
args = TrainingArguments(
    output_dir=out + ".run", max_steps=4, per_device_train_batch_size=size, learning_rate=1e-2, report_to="none",
    gradient_accumulation_steps=accumulation, save_strategy="steps", save_steps=2, use_cpu=True, disable_tqdm=True,
    seed=3, max_grad_norm=0.05, remove_unused_columns=False, dataloader_drop_last=True, ddp_backend="gloo",
)
trainer = lalora.MethodTrainer(
    model=model, args=args, train_dataset=rows(32, seed=5), data_collator=collate, sources=batches(rows(4), 2),
    methods=[LaLoRA(50.0), KL(5.0, every=2)],
)
trainer.train(resume_from_checkpoint=out + ".run/checkpoint-2" if resumes else None)
if args.process_index == 0:
    torch.save({**snapshot(model), "processes": torch.tensor(args.world_size)}, out + (".again" if resumes else ""))
"""


def test_two_processes_train_the_same_model_by_two_methods_and_go_on_alike(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    results = []
    for processes, size, job in ((1, 4, "whole"), (2, 2, "whole"), (2, 2, "resume")):
        out = tmp_path / f"{processes}.pt"
        for process in sandbox.launch(processes, tmp_path / "train.py", size, 2, out, job):
            assert process.wait() == 0, process.communicate()[1][-3000:]
        results.append(torch.load(f"{out}{'.again' if job == 'resume' else ''}", weights_only=True))
    assert [int(result.pop("processes")) for result in results] == [1, 2, 2]
    assert distance(results[0], results[1]) < 1e-8
    assert distance(results[1], results[2]) == 0.0


def test_batches_are_read_once_and_shared(arguments: Arguments) -> None:
    def stream() -> Any:
        yield from SOURCE["arc"]

    once: dict[str, Any] = {"arc": stream()}
    trainer = build(lora(), arguments(max_steps=1), [LaLoRA(1.0), KL()], sources=once)
    trainer.train()
    batch: Batch = SOURCE["arc"][0]
    assert trainer.methods.facts()["lalora.strength"] == 1.0
    assert len(batch) == 3


def test_a_trainer_that_nobody_holds_is_gone_at_once(arguments: Arguments) -> None:
    """What it keeps alive, such as the connections of its processes, would be in the way of the next one."""
    trainer = build(lora(), arguments(max_steps=1), [KL(), L2()])
    # The Trainer of transformers itself may be held in circles; the methods' callback adds none.
    callback = trainer._after_step
    assert trainer not in gc.get_referents(callback, callback.__dict__)
    trainer.train()
    assert trainer not in gc.get_referents(callback, callback.__dict__)


def test_a_method_given_to_two_trainers_begins_anew_in_each(arguments: Arguments) -> None:
    method = LaLoRA(3.0)
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = lora(seed=seed)
        trainer = MethodTrainer(
            model=model, args=arguments(), train_dataset=rows(4), methods=[method], sources=batches(rows(4), 2)
        )
        (own,) = trainer.methods
        assert isinstance(own, LaLoRA) and own.laplace is not None
        assert own is not method and own.laplace.is_mean(model)
    assert method.laplace is None


@pytest.mark.parametrize("methods", [LaLoRA(), ["l2"], "l2", None])
def test_what_is_no_list_of_methods_is_refused(arguments: Arguments, methods: Any) -> None:
    with pytest.raises(LaloraError, match=r"must be a list of methods, such as methods=\[KL\(\)\]"):
        MethodTrainer(model=lora(), args=arguments(), train_dataset=rows(4), methods=methods)


def test_an_error_in_a_step_puts_noisy_weights_back(arguments: Arguments) -> None:
    model = lora()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items() if "base_layer" in name}
    trainer = MethodTrainer(
        model=model, args=arguments(), train_dataset=rows(8), methods=[FlatLora(0.5)], data_collator=collate
    )

    def broken(*args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step > 0:
            raise KeyboardInterrupt
        return MethodTrainer.compute_loss(trainer, *args, **kwargs)

    trainer.compute_loss = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert all(torch.equal(tensor, base[name]) for name, tensor in model.state_dict().items() if name in base)
