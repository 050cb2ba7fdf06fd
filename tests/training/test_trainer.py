"""What the Trainer reports, refuses and works with."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import lalora
from lalora import LaloraError, Laplace, LaplaceMixin, LaplaceTrainer, TrainingDivergedError
from lalora.adapter import trainable_tensors
from tiny import batches, collate, lora, rows, shake

Arguments = Callable[..., TrainingArguments]
TARGET = rows(16, seed=5)


@pytest.fixture
def fitted() -> tuple[Any, Laplace]:
    model = lora()
    return model, lalora.fit(model, batches(rows(4), 2), progress=False)


def build(fitted: tuple[Any, Laplace], args: TrainingArguments, **settings: Any) -> LaplaceTrainer:
    model, laplace = fitted
    options = {"train_dataset": TARGET, "data_collator": collate, "laplace": laplace, "strength": 4.0, **settings}
    return LaplaceTrainer(model=model, args=args, **options)


def test_target_loss_penalty_and_forecast_are_logged_apart(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    trainer = build(fitted, arguments(max_steps=3))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 3
    for entry in logged:
        assert entry["penalty"] == pytest.approx(4.0 * entry["forecast"])
    assert logged[-1]["forecast"] == pytest.approx(fitted[1].forecast(fitted[0]))
    assert logged[-1]["forecast"] > 0


def test_the_logged_loss_is_the_target_loss(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    model, laplace = copy.deepcopy(fitted[0]), fitted[1]
    common: dict[str, Any] = {"train_dataset": TARGET, "data_collator": collate}
    plain = Trainer(model=model, args=arguments(max_steps=1), **common)
    plain.train()
    charged = build(fitted, arguments(max_steps=1), laplace=laplace, strength=1e3)
    charged.train()
    assert charged.state.log_history[0]["loss"] == plain.state.log_history[0]["loss"]


def test_evaluation_leaves_the_penalty_out(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    strong = build(fitted, arguments(max_steps=2), eval_dataset=TARGET, strength=1e4)
    strong.train()
    plain = Trainer(model=fitted[0], args=arguments(), eval_dataset=TARGET, data_collator=collate)
    assert strong.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"])


def test_tensorboard_shows_them(fitted: tuple[Any, Laplace], arguments: Arguments, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tmp_path / "board")
    try:
        build(fitted, arguments(max_steps=2, report_to="tensorboard")).train()
    finally:
        del os.environ["TENSORBOARD_LOGGING_DIR"]
    accumulator = EventAccumulator(str(tmp_path / "board"))
    accumulator.Reload()
    assert {"train/loss", "train/penalty", "train/forecast"} <= set(accumulator.Tags()["scalars"])


def test_divergence_names_step_and_strength(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    class Diverges(LaplaceTrainer):
        def compute_loss(self, *args: Any, **options: Any) -> Any:
            loss = super().compute_loss(*args, **options)
            return loss * float("nan") if self.state.global_step == 2 else loss

    model, laplace = fitted
    trainer = Diverges(
        model=model, args=arguments(), train_dataset=TARGET, data_collator=collate, laplace=laplace, strength=4.0
    )
    with pytest.raises(TrainingDivergedError, match="the loss is nan at step 3 with strength 4"):
        trainer.train()


@pytest.mark.parametrize("step", [1, 2])
def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights_are_lost(
    fitted: tuple[Any, Laplace], arguments: Arguments, step: int
) -> None:
    class Diverges(LaplaceTrainer):
        def after_backward(self, loss_scale: float) -> None:
            super().after_backward(loss_scale)
            if self.state.global_step == step - 1:
                next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(float("inf"))

    model, laplace = fitted
    trainer = Diverges(
        model=model,
        args=arguments(max_steps=2),
        train_dataset=TARGET,
        data_collator=collate,
        laplace=laplace,
        strength=4.0,
    )
    with pytest.raises(TrainingDivergedError, match=f"the gradient's norm is inf at step {step} with strength 4"):
        trainer.train()
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_an_adapter_that_is_not_at_the_mean_is_told(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    model, laplace = fitted
    shake(model)
    with pytest.warns(UserWarning, match="call laplace.restore_mean"):
        build(fitted, arguments())
    laplace.restore_mean(model)
    build(fitted, arguments())


@pytest.mark.parametrize("strength", [-1.0, float("nan"), "1", True])
def test_bad_strength(fitted: tuple[Any, Laplace], arguments: Arguments, strength: Any) -> None:
    with pytest.raises(LaloraError, match="strength must be"):
        build(fitted, arguments(), strength=strength)


def test_a_laplace_of_another_model(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    with pytest.raises(LaloraError, match="the model here is another"):
        build((lora(seed=9), fitted[1]), arguments())


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
def test_with_trl(fitted: tuple[Any, Laplace], tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from tiny import tokenizer

    class LaplaceSFTTrainer(LaplaceMixin, SFTTrainer):
        pass

    model, laplace = fitted
    args = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        max_length=32,
    )
    data = Dataset.from_list([{"prompt": "a b c", "completion": " d e f"}, {"prompt": "b", "completion": " c d"}] * 4)
    trainer = LaplaceSFTTrainer(
        model=model, args=args, train_dataset=data, processing_class=tokenizer(), laplace=laplace, strength=2.0
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "forecast" in entry]
    assert len(logged) == 2
    assert logged[-1]["forecast"] > 0


TWO_PROCESSES = """
import sys
import warnings
import torch
from transformers import TrainingArguments
import lalora
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows

size, accumulation, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
model = lora(dtype=torch.float64, b_scale=0.2)
laplace = lalora.fit(model, batches(rows(4), 2), progress=False)
args = TrainingArguments(
    output_dir=out + ".run", max_steps=4, per_device_train_batch_size=size, learning_rate=1e-2, report_to="none",
    gradient_accumulation_steps=accumulation, save_strategy="no", use_cpu=True, disable_tqdm=True, seed=3,
    max_grad_norm=0.05, remove_unused_columns=False, dataloader_drop_last=True, ddp_backend="gloo",
)
trainer = lalora.LaplaceTrainer(
    model=model, args=args, train_dataset=rows(32, seed=5), data_collator=collate, laplace=laplace, strength=50.0
)
trainer.train()
if args.process_index == 0:
    torch.save({**snapshot(model), "processes": torch.tensor(args.world_size)}, out)
"""


def test_two_processes_train_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    results = []
    for processes, size in ((1, 4), (2, 2)):
        out = tmp_path / f"{processes}.pt"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [*command, str(tmp_path / "train.py"), str(size), "2", str(out)],
            env=environment,
            check=True,
            capture_output=True,
        )
        results.append(torch.load(out, weights_only=True))
    assert [int(result.pop("processes")) for result in results] == [1, 2]
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-8), name


def test_the_norms_of_both_gradients_are_logged_apart(fitted: tuple[Any, Laplace], arguments: Arguments) -> None:
    model, laplace = fitted
    shake(model)
    start = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the adapter is not at the mean
        trainer = build(fitted, arguments(max_steps=1, max_grad_norm=0.1, lr_scheduler_type="constant"))
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    tensors = list(trainable_tensors(start).values())
    of_penalty = torch.autograd.grad(laplace.penalty(start, 4.0), tensors, allow_unused=True)
    expected = torch.stack([g.norm() for g in of_penalty if g is not None]).norm()
    assert logged["grad_norm_penalty"] == pytest.approx(float(expected), rel=1e-5)
    assert logged["grad_norm_target"] > 0
    assert logged["grad_norm"] <= logged["grad_norm_target"] + logged["grad_norm_penalty"] + 1e-5
