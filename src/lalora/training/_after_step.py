"""Methods that change the model after an optimizer step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lalora.methods import InTurn


class AfterStep(TrainerCallback):
    """Tells the methods that the optimizer has moved the model.

    It knows nothing of the Trainer: the two would keep each other alive, and with them the processes' connections.
    """

    def __init__(self, methods: InTurn) -> None:
        """Take the methods."""
        self.methods = methods

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let them change the model."""
        self.methods.after_step(kwargs["model"])
