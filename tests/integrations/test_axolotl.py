"""The plugin in axolotl: what its section asks for acts; mistakes are told in a line, and nothing is left out silently.

Against the double of `axolotl_double.py`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from pydantic import ValidationError
from transformers import TrainingArguments

import lalora
from axolotl_double import install, trainer_of
from lalora import LaloraError, LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows, tokenizer

SOURCE = {"arc": batches(rows(6), 2)}
ROWS = [{name: tensor.tolist() for name, tensor in row.items()} for row in rows(16, seed=5)]
DATA: dict[str, Any] = {"train_dataset": Dataset.from_list(ROWS).with_format("torch"), "data_collator": collate}


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    install(monkeypatch)
    return importlib.import_module("lalora.integrations.axolotl")


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    def make(**settings: Any) -> TrainingArguments:
        return TrainingArguments(
            **{
                "output_dir": str(tmp_path / "out"), "max_steps": 10, "per_device_train_batch_size": 2,
                "learning_rate": 1e-2, "logging_steps": 1, "report_to": "none", "save_strategy": "no", "use_cpu": True,
                "disable_tqdm": True, "remove_unused_columns": False, "seed": 3, **settings,
            }
        )  # fmt: skip

    return make


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "notes.txt"
    letters = "abcdefghijklmnopqrstuvwxyz"
    path.write_text("\n\n".join(" ".join(letters[i : i + 6]) for i in range(20)), encoding="utf-8")
    return str(path)


def farthest(one: Any, other: Any) -> float:
    ends = snapshot(one), snapshot(other)
    return max(float((tensor - ends[1][name]).abs().max()) for name, tensor in ends[0].items())


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("curvature", ["diagonal", "weight-kfac"])
def test_a_laplace_trains_the_adapter_of_axolotl_s_trainer_with_the_penalty_by_hand(
    curvature: str, accumulation: int, plugin: Any, arguments: Any, tmp_path: Path
) -> None:
    from axolotl.core.trainers.base import AxolotlTrainer

    class ByHand(AxolotlTrainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            if self.accelerator.sync_gradients:
                laplace.penalty(self.model, 30.0).backward()
            return loss

    args = arguments(max_grad_norm=0.0, gradient_accumulation_steps=accumulation)
    models = [lora(), lora(), lora()]
    laplace = lalora.fit(models[1], SOURCE, curvature=curvature, progress=False)
    laplace.save(tmp_path / "laplace")
    with torch.no_grad():  # axolotl makes an adapter with another random A
        for name, parameter in models[0].named_parameters():
            if "lora_A" in name:
                parameter.mul_(-0.7)
    cfg = {"lalora": {"laplace": str(tmp_path / "laplace"), "strength": 30}}
    trainer_of([plugin.LaloraPlugin()], cfg, models[0], tokenizer(), args=args, **DATA).train()
    ByHand(model=models[1], args=args, **DATA).train()
    assert farthest(*models[:2]) < 1e-6
    assert farthest(models[0], lora()) > 1e-3
    # Of transformers' Trainer each token of a step weighs the same, of axolotl's each micro-batch.
    LaplaceTrainer(model=models[2], args=args, laplace=laplace, strength=30.0, **DATA).train()
    assert (farthest(models[0], models[2]) < 3e-8) == (accumulation == 1)


def test_sources_and_a_strength(plugin: Any, arguments: Any, text: str) -> None:
    cfg = {"lalora": {"sources": {"notes": text}, "strength": 30.0}}
    trainer = trainer_of([plugin.LaloraPlugin()], cfg, lora(), tokenizer(), args=arguments(max_steps=3), **DATA)
    trainer.train()
    assert trainer.state.log_history[1]["penalty"] > 0


def test_sources_and_a_budget(plugin: Any, arguments: Any, text: str) -> None:
    cfg = {"lalora": {"sources": text, "budget": 0.01}}
    args = arguments(learning_rate=5e-2)
    trainer = trainer_of([plugin.LaloraPlugin()], cfg, lora(), tokenizer(), args=args, **DATA)
    trainer.train()
    found = {name: value for entry in trainer.state.log_history for name, value in entry.items()}
    assert found["drift"] <= 0.01 < found["trained_drift"]
    assert "trained" in trainer.model.peft_config


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "lalora does nothing: give strength, or sources and budget"),
        ({"strength": 30.0}, "lalora has nothing to go by: give laplace"),
        ({"laplace": "laplace"}, "lalora does nothing"),
        ({"laplace": "laplace", "budget": 0.02}, "a laplace is for a penalty: give strength"),
        ({"laplace": "laplace", "strength": 1.0, "budget": 0.02}, "a budget is measured on text: give sources"),
        ({"laplace": "laplace", "strength": -1.0}, "greater than or equal to 0"),
        ({"laplace": "laplace", "strength": float("nan")}, "finite number"),
        ({"laplace": "laplace", "strenght": 1.0}, "strenght"),
        ({"sources": "notes.txt", "budget": 0.0}, "greater than 0"),
        ({"sources": "notes.txt", "strength": 1.0, "curvature": "kfak"}, "is unknown: choose diagonal or kfac"),
        ({"sources": "notes.txt", "strength": 1.0, "budget_sources": "more.txt"}, "give budget, in nats per token"),
        ({"sources": "notes.txt", "budget": 0.02, "budget_by": "hope"}, "'softening', 'control' or 'both'"),
    ],
)
def test_mistakes_in_the_section_are_told(section: dict[str, Any], message: str, plugin: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        plugin.LaloraArgs.model_validate({"lalora": section})
    (mistake,) = caught.value.errors()
    assert message in f"{mistake['loc'][-1]}: {mistake['msg']}"
    assert "\n" not in mistake["msg"]


def test_a_plugin_without_its_section_is_told(plugin: Any) -> None:
    with pytest.raises(ValidationError, match="lalora\n  Field required"):
        plugin.LaloraArgs.model_validate({})


def test_what_axolotl_loads_by_name(plugin: Any) -> None:
    module, name = plugin.LaloraPlugin().get_input_args().rsplit(".", 1)
    assert getattr(importlib.import_module(module), name) is plugin.LaloraArgs


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rl": "dpo"}, "act in axolotl's supervised Trainer alone, not with rl"),
        ({"lora_qkv_kernel": True}, "which lora_qkv_kernel goes past"),
    ],
)
def test_what_a_fit_cannot_serve_is_refused_before_the_model(more: Any, message: str, plugin: Any, text: str) -> None:
    cfg = {"lalora": {"sources": text, "budget": 0.02}, **more}
    with pytest.raises(LaloraError, match=message):
        plugin.LaloraPlugin().get_trainer_cls(cfg)
    assert plugin.LaloraPlugin().get_trainer_cls({"lalora": {"laplace": "x", "strength": 1.0}, **more}) is None


def test_another_plugin_with_a_trainer_in_front_is_refused(plugin: Any, arguments: Any, text: str) -> None:
    class Other(plugin.BasePlugin):  # type: ignore[misc, name-defined]
        def get_trainer_cls(self, cfg: Any) -> Any:
            from axolotl.core.trainers.base import AxolotlTrainer

            return AxolotlTrainer

    cfg = {"lalora": {"sources": text, "strength": 1.0}}
    with pytest.raises(LaloraError, match="put lalora.integrations.axolotl.LaloraPlugin first under plugins"):
        trainer_of([Other(), plugin.LaloraPlugin()], cfg, lora(), tokenizer(), args=arguments(), **DATA)


def test_a_laplace_that_is_not_there_or_of_another_adapter_is_refused(
    plugin: Any, arguments: Any, tmp_path: Path
) -> None:
    def built(place: Path, model: Any) -> None:
        cfg = {"lalora": {"laplace": str(place), "strength": 1.0}}
        trainer_of([plugin.LaloraPlugin()], cfg, model, tokenizer(), args=arguments(), **DATA)

    with pytest.raises(LaloraError, match=r"lalora\.laplace: .*nowhere"):
        built(tmp_path / "nowhere", lora())
    lalora.fit(lora(), SOURCE, progress=False).save(tmp_path / "laplace")
    with pytest.raises(LaloraError):
        built(tmp_path / "laplace", lora(r=2))


def test_too_little_text_for_a_budget_is_told(plugin: Any, arguments: Any, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a b c d\n\ne f g h", encoding="utf-8")
    cfg = {"lalora": {"sources": str(tmp_path / "short.txt"), "budget": 0.02}}
    with pytest.raises(LaloraError, match=r"lalora\.sources: 'source' is one batch of rows"):
        trainer_of([plugin.LaloraPlugin()], cfg, lora(), tokenizer(), args=arguments(), **DATA)


def test_without_axolotl_it_is_no_import_error_which_axolotl_would_pass_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lalora.integrations.axolotl", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "axolotl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "axolotl", None)
    with pytest.raises(LaloraError, match="is a plugin of axolotl, which is not here"):
        importlib.import_module("lalora.integrations.axolotl")
