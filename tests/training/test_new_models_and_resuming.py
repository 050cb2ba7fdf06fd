"""The model that is trained now pays the penalty, and a resumed run pays the one it paid before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import TrainingArguments

import lalora
from lalora import LaloraError, Laplace, LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, llama, lora, rows

Arguments = Callable[..., TrainingArguments]
TARGET = rows(16, seed=5)
SOURCE = batches(rows(6), 2)
KINDS = ["diagonal", "weight-kfac"]


def unseeded(seed: int) -> Any:
    """A script's model whose adapter starts at an A of its own."""
    base = llama()
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear"))


def of_base() -> Laplace:
    return lalora.fit(llama(), SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)


def trainer(model: Any, args: TrainingArguments, laplace: Laplace, **settings: Any) -> LaplaceTrainer:
    options = {"train_dataset": TARGET, "data_collator": collate, "strength": 1e3, **settings}
    return LaplaceTrainer(model=model, args=args, laplace=laplace, **options)


def trained(model: Any, args: TrainingArguments, laplace: Laplace, **settings: Any) -> dict[str, Tensor]:
    made = trainer(model, args, laplace, **settings)
    made.train()
    return snapshot(made.model)


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_made_by_model_init_pays_as_one_that_is_given(kind: str, arguments: Arguments) -> None:
    laplace = lalora.fit(lora(), SOURCE, curvature=kind, progress=False)
    right = trained(lora(), arguments(data_seed=7), laplace)
    assert equal(trained(None, arguments(data_seed=7), laplace, model_init=lambda: lora()), right)
    assert not equal(trained(None, arguments(data_seed=7), laplace, model_init=lambda: lora(), strength=0.0), right)


def test_each_new_model_begins_at_the_mean_as_in_a_search(arguments: Arguments) -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")
    seeds = iter(range(50, 60))
    made = trainer(None, arguments(data_seed=7), laplace, model_init=lambda: unseeded(next(seeds)))
    ends = []
    for _ in range(2):
        made.train()
        ends.append(snapshot(made.model))
    right = trained(lora(), arguments(data_seed=7), laplace)
    assert equal(ends[0], right)
    assert equal(ends[1], right)


def test_a_model_that_the_laplace_does_not_belong_to_is_refused(arguments: Arguments) -> None:
    laplace = lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")
    with pytest.raises(LaloraError, match="trainable tensor"):
        trainer(None, arguments(data_seed=7), laplace, model_init=lambda: lora(target_modules=["q_proj"]))


@pytest.mark.parametrize("kind", [*KINDS, "of a base"])
def test_a_resumed_script_without_a_seed_equals_the_whole_run(kind: str, arguments: Arguments, tmp_path: Path) -> None:
    def laplace(model: Any) -> Laplace:
        return of_base() if kind == "of a base" else lalora.fit(model, SOURCE, curvature=kind, progress=False)

    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    first = unseeded(1)
    whole = trained(first, arguments(**saving), laplace(first))
    second = unseeded(2)  # another random A, and a fit at it
    resumed = trainer(second, arguments(**saving, output_dir=str(tmp_path / "again")), laplace(second))
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert equal(snapshot(resumed.model), whole)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "strength": ({"strength": 5.0}, "checkpoint-4 was trained with strength 1000, not 5: give the same to resume"),
    "curvature": ({"curvature": "kfac"}, "checkpoint-4 was trained with curvature 'diagonal', not 'kfac'"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_go_on_otherwise_is_refused(
    change: dict[str, Any], message: str, arguments: Arguments, tmp_path: Path
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    model = lora()
    trained(model, arguments(**saving), lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal"))
    other = lalora.fit(lora(), SOURCE, curvature=change.pop("curvature", "diagonal"), progress=False)
    with pytest.raises(LaloraError, match=message):
        trainer(lora(), arguments(**saving), other, **change).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4")
        )


def test_a_checkpoint_without_a_laplace_is_refused(arguments: Arguments, tmp_path: Path) -> None:
    from transformers import Trainer

    saving = arguments(save_strategy="steps", save_steps=2, max_steps=4)
    Trainer(model=lora(), args=saving, train_dataset=TARGET, data_collator=collate).train()
    with pytest.raises(LaloraError, match="checkpoint-2 does not say of which methods its run was"):
        trainer(lora(), saving, lalora.fit(lora(), SOURCE, progress=False, curvature="diagonal")).train(
            resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2")
        )
