"""The Trainer of a run: its loss, and what is written down of every step."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lalora import processes
from lalora.completion import completion
from lalora.methods import InTurn
from lalora.study.store.folder import saving
from lalora.study.store.records import append_row, read_rows
from lalora.training import MethodMixin


class StudyTrainer(MethodMixin, Trainer):
    """A Trainer of methods that are ready, with a loss that costs less than the model's own."""

    def __init__(
        self, *, methods: InTurn, run: str, model: PeftModel, before_softening: Callable[[], None], **kwargs: Any
    ) -> None:
        """Take methods, what to call the run when it diverges, and what to do before it is softened to a budget."""
        super().__init__(methods=methods.as_written, model=model, **kwargs)
        # Those that are ready, not the copies that a Trainer makes ready itself.
        self._after_step.methods = methods
        self.prepare_budget(model)
        self._before_softening = before_softening
        # So that it counts the tokens of all processes and micro-batches, whatever the model's own forward takes.
        self.model_accepts_loss_kwargs = True
        self._run = run

    def prepare(self, model: nn.Module) -> None:
        """Do nothing: the methods are ready, and the rows are chosen."""

    def before_softening(self) -> None:
        """Measure the adapter as it was trained."""
        self._before_softening()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Compute the loss per completion token without the logits of the prompt, which cost time and memory."""
        seen = completion(model, inputs)
        share = F.cross_entropy(seen.logits, seen.targets, reduction="sum") / (num_items_in_batch or len(seen.targets))
        return share * processes.world_size()

    def describe_run(self) -> str:
        """Name the run: ` of <label>`."""
        return f" of {self._run}"

    def saving(self) -> AbstractContextManager[None]:
        """Tell in one line that a checkpoint could not be saved."""
        return saving(Path(str(self.args.output_dir)))


class Recorder(TrainerCallback):
    """Writes a row for every step, measures at the chosen steps, times the steps and shows progress."""

    def __init__(
        self,
        metrics: Path,
        timing: Path,
        after: Sequence[tuple[frozenset[int], Callable[[int], None]]],
        advance: Callable[[int, float], None],
        kept: Callable[[], None],
    ) -> None:
        """Choose the files, what to do after which steps, and whom to tell of steps and of complete checkpoints."""
        self._metrics = metrics
        self._timing = timing
        self._after = after
        self._advance = advance
        self._kept = kept
        self._began = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock; measure and keep where wanted."""
        append_row(self._timing, {"step": state.global_step, "seconds": time.perf_counter() - self._began})
        for steps, do in self._after:
            if state.global_step in steps:
                do(state.global_step)

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
        """Write down what the Trainer logs of a step, and of a budget."""
        if logs is not None and "drift" in logs:
            self._write_once(state.global_step, "control" if "strength_factor" in logs else "budget", logs)
        if logs is not None and "loss" in logs:
            row = {name: value for name, value in logs.items() if name != "epoch"}
            append_row(self._metrics, {"step": state.global_step, "kind": "train", **row})
            self._advance(state.global_step, logs["loss"])

    def _write_once(self, step: int, kind: str, logs: dict[str, float]) -> None:
        # What follows a step that has a checkpoint is done again when the run is resumed from there.
        row = {"step": step, "kind": kind, **{name: value for name, value in logs.items() if name != "epoch"}}
        if row not in read_rows(self._metrics):
            append_row(self._metrics, row)
