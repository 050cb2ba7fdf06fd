"""TRL's trainers with the mixin in front: in each the penalty acts once a step, on top of what it would have done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

import lalora
from lalora import LaplaceMixin, MethodMixin
from lalora.adapter import snapshot
from lalora.methods import LaLoRA
from tiny import batches, llama, lora, rows, tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SOURCE = {"arc": batches(rows(6), 2)}
PAIRS = [{"prompt": "a b c", "chosen": " d e", "rejected": " f g"}, {"prompt": "b c", "chosen": " d", "rejected": " e"}]
LABELLED = [{"prompt": "a b", "completion": " c d", "label": True}, {"prompt": "b", "completion": " e", "label": False}]
PROMPTS = [{"prompt": "a b c"}, {"prompt": "d e"}]


def short(completions: list[str], **_: Any) -> list[float]:
    return [-float(len(text)) for text in completions]


GENERATING = {"num_generations": 2, "max_completion_length": 4, "beta": 0.0}
TRAINERS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "SFT": ("SFT", [{"prompt": "a b c", "completion": " d e"}], {}, {}),
    "DPO": ("DPO", PAIRS, {}, {}),
    "KTO": ("KTO", LABELLED, {}, {}),
    "GRPO": ("GRPO", PROMPTS, GENERATING, {"reward_funcs": short}),
    "RLOO": ("RLOO", PROMPTS, GENERATING, {"reward_funcs": short}),
}


def trained(name: str, strength: float, tmp_path: Path) -> tuple[Any, Any]:
    import trl

    kind, data, settings, given = TRAINERS[name]
    args = getattr(trl, f"{kind}Config")(
        output_dir=str(tmp_path / f"{strength:g}"), max_steps=2, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, learning_rate=1e-2, logging_steps=1, report_to="none", save_strategy="no",
        use_cpu=True, bf16=False, disable_tqdm=True, seed=1, **settings,
    )  # fmt: skip

    class Mine(MethodMixin, getattr(trl, f"{kind}Trainer")):  # type: ignore[misc]
        pass

    torch.manual_seed(0)
    model = lora()
    laplace = lalora.fit(model, SOURCE, progress=False)
    trainer: Any = Mine(
        model=model, args=args, train_dataset=Dataset.from_list(data * 8), processing_class=tokenizer(),
        methods=[LaLoRA(strength, laplace=laplace)], **given,
    )  # fmt: skip
    trainer.train()
    return snapshot(model), trainer.state.log_history


@pytest.mark.parametrize("name", TRAINERS)
def test_the_penalty_acts(name: str, tmp_path: Path) -> None:
    (plain, _), (held, log) = (trained(name, strength, tmp_path) for strength in (0.0, 1e6))
    start = snapshot(lora())

    def moved(ends: dict[str, torch.Tensor]) -> float:
        return sum(float((ends[key] - start[key]).square().sum()) for key in ends if "lora_B" in key)

    assert moved(held) > 0
    assert moved(held) != moved(plain)
    assert all(entry["penalty"] >= 0 for entry in log if "penalty" in entry)
    assert any(entry.get("penalty", 0) > 0 for entry in log)


def test_a_curvature_of_the_base_serves_the_adapter_that_the_trainer_makes(tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    class LaplaceSFT(LaplaceMixin, SFTTrainer):
        pass

    base = llama()
    laplace = lalora.fit(base, SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    args = SFTConfig(
        output_dir=str(tmp_path), max_steps=3, learning_rate=1e-2, logging_steps=1, report_to="none", use_cpu=True,
        bf16=False, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = LaplaceSFT(
        model=base, args=args, train_dataset=Dataset.from_list([{"prompt": "a b c", "completion": " d e"}] * 24),
        processing_class=tokenizer(), peft_config=LoraConfig(r=2, target_modules="all-linear"), laplace=laplace,
        strength=30.0,
    )  # fmt: skip
    trainer.train()
    penalties = [entry["penalty"] for entry in trainer.state.log_history if "penalty" in entry]
    assert 0 < penalties[0] < penalties[-1]
    assert all("grad_norm_penalty" in entry for entry in trainer.state.log_history if "loss" in entry)
