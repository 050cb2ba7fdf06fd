"""`lalora.DriftCallback`: what a model forgets, measured while it trains."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lalora import processes
from lalora.batches import Batch
from lalora.errors import LaloraError, warn
from lalora.fisher import Sources, named_sources
from lalora.laplace import require_integer
from lalora.softening import HeldOut, require_budget
from lalora.text import Text, batches_of_sources


class DriftCallback(TrainerCallback):
    """Logs `drift`, KL(base ‖ model) in nats per token, beside the loss: in any Trainer, to whatever `report_to` names.

    `trainer.add_callback(DriftCallback(trainer, {"general": batches}, every=50))`. A measurement is one forward pass
    over the batches; what the base says of them is computed once, as far as it fits into a gigabyte. `drift_low` and
    `drift_high` are the ends of its 95 % interval.
    """

    def __init__(
        self,
        trainer: Trainer,
        text: Sources | Iterable[Batch] | Text,
        *,
        every: int = 50,
        limit: float | None = None,
        stop: bool = False,
        base: nn.Module | None = None,
    ) -> None:
        """Take the text; nothing is measured yet.

        Args:
            trainer: Of a PEFT LoRA model.
            text: Batches as in `lalora.fit`, by name or one text alone, that nothing is trained or fitted on; where the
                Trainer has a `processing_class`, whatever `lalora.source_batches` takes.
            every: Optimizer steps from one measurement to the next; there is one at the end too.
            limit: Drift that is too much; a warning tells of the first measurement beyond it.
            stop: Whether that ends the training.
            base: The base model, where switching the adapter off does not give it.

        Raises:
            LaloraError: If the text is empty or malformed, a number is out of range, or there is no base to compare
                with.
        """
        require_integer("every", every, 1)
        if limit is not None:
            require_budget("limit", limit)
        elif stop:
            raise LaloraError("stop=True needs a limit beyond which to stop")
        model: Any = trainer.model
        found = batches_of_sources(text, trainer.processing_class, model, trainer.args.seed)  # type: ignore[arg-type]
        self._batches = {name: list(batches) for name, batches in named_sources(found).items()}
        self._base, self._model = base, model
        self._held = HeldOut(model, self._batches, base=base)
        # The two would keep each other alive, and with them the processes' connections.
        self._trainer = weakref.ref(trainer)
        self._every, self._limit, self._stop = every, limit, stop
        self._measured_at: int | None = None
        self._has_warned = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the model that is trained now: `model_init` makes another for each training."""
        trainer = self._trainer()
        assert trainer is not None
        if trainer.model is not self._model:
            self._model = trainer.model
            self._held = HeldOut(self._model, self._batches, base=self._base)
        self._measured_at, self._has_warned = None, False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Measure if it is time."""
        if state.global_step % self._every == 0:
            self._measure(state.global_step, control)
        return control

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure what was trained."""
        if self._measured_at != state.global_step:
            self._measure(state.global_step, control)

    def _measure(self, step: int, control: TrainerControl) -> None:
        found = self._held.measure().interval
        # The main process's number, so that all stop or none does.
        drift = processes.all_gather(found.mean)[0]
        self._measured_at = step
        logs_too = control.should_log
        trainer = self._trainer()
        assert trainer is not None
        trainer.log({"drift": drift, "drift_low": found.low, "drift_high": found.high})
        control.should_log = logs_too  # a log ends the wish for one, and the loss would not be told at this step
        if self._limit is None or drift <= self._limit:
            return
        control.should_training_stop |= self._stop
        if not self._has_warned:
            self._has_warned = True
            then = "training ends here" if self._stop else "lalora.soften brings it back after training"
            warn(f"step {step}: the model has drifted {drift:.4g} nats per token, more than {self._limit:g}; {then}")
