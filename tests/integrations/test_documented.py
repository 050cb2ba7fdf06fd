"""The code of docs/plugins.md and docs/trainers.md, against doubles of what it is run by."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import lalora
from lalora import LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, llama, lora, rows

DOCS = Path(__file__).parents[2] / "docs"
DATA: dict[str, Any] = {"train_dataset": rows(16, seed=5), "data_collator": collate}


def block(page: str, words: str) -> str:
    """Find the only block of Python on a page that holds some words."""
    found = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [code for code in found if words in code]
    return str(code)


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=10, per_device_train_batch_size=2, learning_rate=1e-2,
        gradient_accumulation_steps=2, max_grad_norm=0.0, report_to="none", save_strategy="no", use_cpu=True,
        disable_tqdm=True, remove_unused_columns=False, seed=3,
    )  # fmt: skip


@pytest.fixture
def expected(arguments: TrainingArguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The adapter that the mixin trains, with the Laplace that lies in `laplace` now."""
    monkeypatch.chdir(tmp_path)
    options: Any = {"curvature": "weight-kfac", "target_modules": "all-linear", "progress": False}
    laplace = lalora.fit(llama(), {"general": batches(rows(6), 2)}, **options)
    laplace.save("laplace")
    model = lora()
    LaplaceTrainer(model=model, args=arguments, laplace=laplace, strength=30.0, **DATA).train()
    return snapshot(model)


def assert_same(model: nn.Module, expected: dict[str, Any]) -> None:
    assert max(float((tensor - expected[name]).abs().max()) for name, tensor in snapshot(model).items()) < 3e-8
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in snapshot(lora()).items())


def module(patch: pytest.MonkeyPatch, path: str, **inside: Any) -> None:
    """Let a module be imported, with what it has, and the packages that it is in."""
    names = path.split(".")
    for end in range(1, len(names) + 1):
        patch.setitem(sys.modules, ".".join(names[:end]), ModuleType(".".join(names[:end])))
    vars(sys.modules[path]).update(inside)


def test_ms_swift(arguments: Any, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """swift 4.6.0: swift/trainers/mixin.py (`_get_callbacks`, before `Trainer.__init__`), callbacks/mapping.py."""
    callbacks_map: dict[str, Any] = {}

    class SwiftMixin:
        def __init__(self, model: Any, args: Any, **kwargs: Any) -> None:
            callbacks = [callbacks_map[callback](args, self) for callback in args.callbacks]
            super().__init__(model=model, args=args, callbacks=callbacks, **kwargs)  # type: ignore[call-arg]

    class Seq2SeqTrainer(SwiftMixin, Trainer):  # type: ignore[misc]
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            return super().training_step(model, inputs, *args, **kwargs)

    module(monkeypatch, "swift.callbacks", callbacks_map=callbacks_map)
    exec(block("plugins.md", "swift.callbacks"), {"__name__": "lalora_plugin"})
    arguments.callbacks = ["laplace"]
    model = lora()
    Seq2SeqTrainer(model, arguments, **DATA).train()
    assert_same(model, expected)


def test_llama_factory(arguments: Any, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """llamafactory 0.9.5: train/tuner.py (`run_exp`, `_training_function`), train/sft/workflow.py (`run_sft`)."""
    model = lora()

    class LogCallback(TrainerCallback):
        pass

    def run_exp(args: Any = None, callbacks: list[TrainerCallback] | None = None) -> None:
        callbacks = callbacks or []
        callbacks.append(LogCallback())
        Trainer(model=model, args=arguments, callbacks=callbacks, **DATA).train()

    module(monkeypatch, "llamafactory.train.tuner", run_exp=run_exp)
    exec(block("plugins.md", "llamafactory"), {"__name__": "__main__"})
    assert_same(model, expected)


class LightningTrainer:
    """One optimizer's loop of lightning 2.6.6, pytorch/plugins/precision/precision.py (`_wrap_closure`).

    The optimizer's closure runs forward and backward; then come `on_before_optimizer_step`, clipping, and the step.
    While gradients are accumulated, the closure runs without an optimizer and the hook is not called
    (loops/training_epoch_loop.py).
    """

    def __init__(self, accumulate_grad_batches: int) -> None:
        self.accumulation = accumulate_grad_batches

    def fit(self, module: Any, micro_batches: list[Any]) -> None:
        optimizer = module.configure_optimizers()
        for number, batch in enumerate(micro_batches):
            if number % self.accumulation == 0:
                optimizer.zero_grad()
            closure: Callable[[], None] = (module.training_step(batch, number) / self.accumulation).backward
            if (number + 1) % self.accumulation == 0:

                def wrapped(closure: Callable[[], None] = closure) -> None:
                    closure()
                    module.on_before_optimizer_step(optimizer)

                optimizer.step(closure=wrapped)
            else:
                closure()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_lightning(accumulation: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    model = lora(dtype=torch.float64)
    laplace = lalora.fit(model, {"general": batches(rows(6), 2)}, progress=False)
    laplace.save("laplace")
    module(monkeypatch, "lightning", LightningModule=nn.Module)
    scope: dict[str, Any] = {"torch": torch}
    exec(block("trainers.md", "LightningModule"), scope)
    micro_batches = batches(rows(8, seed=5), 2) * 5
    LightningTrainer(accumulation).fit(scope["Held"](model, laplace), micro_batches)
    other = lora(dtype=torch.float64)
    optimizer = torch.optim.AdamW([p for p in other.parameters() if p.requires_grad], lr=1e-3)
    for first in range(0, len(micro_batches), accumulation):
        losses = [other(**batch).loss for batch in micro_batches[first : first + accumulation]]
        (torch.stack(losses).mean() + laplace.penalty(other, 30.0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    ends = snapshot(model), snapshot(other)
    assert all(torch.allclose(tensor, ends[1][name], rtol=0, atol=1e-10) for name, tensor in ends[0].items())
