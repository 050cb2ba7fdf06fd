"""The Trainer of a run: its method acts after each backward pass, every step is written down."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lalora import processes
from lalora.completion import completion
from lalora.methods import Method
from lalora.study.folder import saving
from lalora.study.records import append_row
from lalora.training import AfterBackwardMixin


class StudyTrainer(AfterBackwardMixin, Trainer):
    """A Trainer that leaves to a method what happens between backward pass and optimizer step."""

    def __init__(self, *, method: Method, run: str, **kwargs: Any) -> None:
        """Build the Trainer.

        Args:
            method: Already prepared.
            run: What to call the run when it diverges.
            **kwargs: The Trainer's own.
        """
        super().__init__(**kwargs)
        # So that it counts the tokens of all processes and micro-batches, whatever the model's own forward takes.
        self.model_accepts_loss_kwargs = True
        self._method = method
        self._run = run
        self._first = True

    def facts(self) -> dict[str, object]:
        """Collect what all processes of a run have to agree in, its method included.

        Returns:
            Values by name.
        """
        knobs = {name: value for name, value in vars(self._method).items() if isinstance(value, str | int | float)}
        return super().facts() | {"method": self._method.name, "settings of the method": knobs}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Compute the loss per completion token without the logits of the prompt, which cost time and memory.

        Args:
            model: The model.
            inputs: A micro-batch.
            return_outputs: Left out of account, since nothing of a run asks for it.
            num_items_in_batch: Completion tokens in all micro-batches of the step, of all processes.

        Returns:
            The micro-batch's share of the mean loss of the step, in nats per completion token, times the number of
            processes: gradients and logged losses are averaged over these, and the shares add up.
        """
        seen = completion(model, inputs)
        share = F.cross_entropy(seen.logits, seen.targets, reduction="sum") / (num_items_in_batch or len(seen.targets))
        return share * processes.count()

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one micro-batch, after the method has looked at the model if it is the step's first.

        Args:
            model: The model.
            inputs: The micro-batch.
            num_items_in_batch: Loss tokens in the whole step.

        Returns:
            The micro-batch's part of the target loss.
        """
        if self._first:
            self._method.before_forward(self._peft, self.state.global_step, self.state.max_steps)
        self._first = self.accelerator.sync_gradients
        return super().training_step(model, inputs, num_items_in_batch)

    def after_backward(self, loss_scale: float) -> None:
        """Let the method change the gradients.

        Args:
            loss_scale: Factor that the gradients carry.
        """
        self._method.begin_step(self._peft, self.state.global_step)
        self._method.after_backward(self._peft, loss_scale)

    def describe_run(self) -> str:
        """Name the run.

        Returns:
            ` of <label>`.
        """
        return f" of {self._run}"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what the method measures beside the loss.

        Args:
            logs: What the Trainer logs.
            start_time: The Trainer's own.
        """
        if "loss" in logs:
            logs |= self._method.metrics(self._peft)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        # Before the Trainer's own files, the last of which says that a checkpoint is complete.
        with processes.together(), saving(folder):
            if processes.is_main():
                step = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
                self._method.save(Path(self._get_output_dir(trial=trial)) / step)
        with processes.together(), saving(folder):
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir: str) -> None:
        # Each process has its own file; all of them are there before the last one is written.
        with processes.together():
            super()._save_rng_state(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._method.load(Path(resume_from_checkpoint))

    @property
    def _peft(self) -> PeftModel:
        model = self.model
        assert isinstance(model, PeftModel)
        return model


class AfterStep(TrainerCallback):
    """Tells a method that the optimizer has moved the model."""

    def __init__(self, method: Method) -> None:
        """Choose the method.

        Args:
            method: Already prepared.
        """
        self._method = method

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let it change the model."""
        self._method.after_step(kwargs["model"])


class Recorder(TrainerCallback):
    """Writes a row for every step, measures at the chosen steps, times the steps and shows progress."""

    def __init__(
        self,
        metrics: Path,
        timing: Path,
        evaluate_at: frozenset[int],
        evaluate: Callable[[int], None],
        advance: Callable[[int, float], None],
        kept: Callable[[], None],
    ) -> None:
        """Choose where everything goes.

        Args:
            metrics: JSON Lines for what was measured.
            timing: JSON Lines for how long it took, apart because it never repeats.
            evaluate_at: Steps to measure after.
            evaluate: Measures and writes the row; takes the step.
            advance: Told the step and its loss.
            kept: Called when a checkpoint is complete.
        """
        self._metrics = metrics
        self._timing = timing
        self._evaluate_at = evaluate_at
        self._evaluate = evaluate
        self._advance = advance
        self._kept = kept
        self._began = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock; measure where wanted."""
        append_row(self._timing, {"step": state.global_step, "seconds": time.perf_counter() - self._began})
        if state.global_step in self._evaluate_at:
            self._evaluate(state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell that a checkpoint is complete."""
        self._kept()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write down what the Trainer logs of a step."""
        if logs is not None and "loss" in logs:
            row = {name: value for name, value in logs.items() if name != "epoch"}
            append_row(self._metrics, {"step": state.global_step, "kind": "train", **row})
            self._advance(state.global_step, logs["loss"])
